import { transport } from "../../../ffi/transport.ts";

/** Descriptor 3 leads to a parent that may have ended already. */
process.stdout.write(String(transport().symbols.phprun_die_with_parent(3)));

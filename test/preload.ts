/** Loaded before every test file (bunfig.toml). */
import { setDefaultTimeout } from "bun:test";

// Process tests start servers and wait for them: Bun's 5 s are short on a busy machine with two cores.
setDefaultTimeout(20_000);

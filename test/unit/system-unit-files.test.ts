import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { run, Scratch } from "../process/support.ts";

const config = join(import.meta.dir, "../../config");
const analyze = Bun.which("systemd-analyze");

test.skipIf(analyze === null)("systemd finds nothing wrong with the unit files", async () => {
  using scratch = new Scratch();
  const service = readFileSync(join(config, "phprun.service"), "utf8");
  // systemd looks whether the program is there.
  const program = "/usr/local/bin/phprun";
  expect(service).toContain(`ExecStart=${program} serve`);
  const units = [
    scratch.write("phprun.service", service.replace(program, process.execPath)),
    scratch.write("phprun.socket", readFileSync(join(config, "phprun.socket"))),
  ];
  const { code, out, err } = await run([analyze ?? "", "verify", "--man=no", ...units]);
  expect({ code, out, err }).toEqual({ code: 0, out: "", err: "" });
});

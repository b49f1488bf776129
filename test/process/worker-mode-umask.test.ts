/** Worker mode: the file mode mask is the application's, and what a request does to it is the request's. */
import { expect } from "bun:test";
import { test } from "../harness.ts";
import { appOptions } from "./app.ts";
import { get, underEachIsolation } from "./support.ts";

underEachIsolation(({ begin }) => {
  for (const [mask, boot] of [
    ["22", "umask(022);"],
    ["0", "umask(0);"],
    ["77", "umask(022); umask(077);"],
  ] as const) {
    test(`each request finds the mask ${mask} of the boot`, async () => {
      const pages = { mask: "echo decoct(umask());", change: "umask(0177); echo decoct(umask());" };
      await using server = await begin(appOptions({ boot, pages }));
      for (let i = 0; i < 2; i++) {
        expect((await get(server, "/mask")).text).toBe(mask);
        expect((await get(server, "/change")).text).toBe("177");
      }
      expect((await get(server, "/mask")).text).toBe(mask);
    });
  }
});

import { expect, test } from "bun:test";
import { join } from "node:path";

import { Notifier, takeNotifySettings } from "../../src/system/notify.ts";
import { DatagramSocket, systemClockUs } from "../ffi/helpers/libc-sockets.ts";
import { eventually } from "../harness.ts";
import { Scratch } from "../process/support.ts";

test("what the service manager says is read once, and nothing of it stays for scripts", () => {
  const env = { NOTIFY_SOCKET: "/run/notify", WATCHDOG_USEC: "30000000", WATCHDOG_PID: "77", PATH: "/bin" };
  expect(takeNotifySettings(env, 77)).toEqual({ address: "/run/notify", watchdogMs: 30_000 });
  expect(env as Record<string, string>).toEqual({ PATH: "/bin" });
  expect(takeNotifySettings(env, 77)).toEqual({ address: null, watchdogMs: 0 });
});

test.each([
  ["somebody else's watchdog", { NOTIFY_SOCKET: "@x", WATCHDOG_USEC: "5", WATCHDOG_PID: "1" }, "@x", 0],
  ["a watchdog for everybody", { NOTIFY_SOCKET: "@x", WATCHDOG_USEC: "5000" }, "@x", 5],
  ["an interval that is no number", { NOTIFY_SOCKET: "@x", WATCHDOG_USEC: "5s" }, "@x", 0],
  ["an address of another kind", { NOTIFY_SOCKET: "vsock:2:1234", WATCHDOG_USEC: "5000" }, null, 0],
  ["an empty address", { NOTIFY_SOCKET: "" }, null, 0],
] as const)("%s", (_, env, address, watchdogMs) => {
  expect(takeNotifySettings({ ...env }, 77)).toEqual({ address, watchdogMs });
});

test("the service manager hears of start, reload, status and stop", () => {
  using scratch = new Scratch();
  for (const address of [join(scratch.path, "notify"), `@phprun-test-${process.pid}-${Math.random()}`]) {
    using manager = new DatagramSocket(address);
    const notifier = new Notifier({ address, watchdogMs: 0 });
    notifier.ready("2 workers\nin 1 pool");
    expect(manager.receive()).toBe("READY=1\nSTATUS=2 workers; in 1 pool");

    const before = systemClockUs();
    notifier.reloading();
    const [, usec] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(manager.receive() ?? "") ?? [];
    // The manager compares it with its own clock.
    expect(Number(usec)).toBeWithin(Math.floor(before), systemClockUs() + 1);

    notifier.status("busy");
    notifier.status("busy");
    expect(manager.receive()).toBe("STATUS=busy");
    notifier.stopping();
    expect(manager.receive()).toBe("STOPPING=1\nSTATUS=Stopping");
    expect(manager.receive()).toBeUndefined();
    notifier.close();
  }
});

test("the watchdog is fed from the start on, and only while the front is well", async () => {
  const address = `@phprun-test-${process.pid}-${Math.random()}`;
  using manager = new DatagramSocket(address);
  let healthy = true;
  let asked = 0;
  const notifier = new Notifier(
    { address, watchdogMs: 20 },
    {
      healthy: () => {
        asked++;
        return healthy;
      },
    },
  );
  expect(asked).toBe(0);
  notifier.ready("");
  expect(manager.receive()).toBe("READY=1\nSTATUS=");
  for (let i = 0; i < 3; i++)
    expect(await eventually("a sign of life", () => manager.receive())).toBe("WATCHDOG=1");

  healthy = false;
  while (manager.receive() !== undefined);
  const then = asked;
  await eventually("it has been asked again", () => (asked > then + 1 ? true : undefined));
  expect(manager.receive()).toBeUndefined();

  healthy = true;
  expect(await eventually("a sign of life", () => manager.receive())).toBe("WATCHDOG=1");
  notifier.close();
});

test("nothing is sent without a service manager, and one that has gone is told of once", () => {
  const errors: string[] = [];
  const onError = (error: Error) => errors.push(error.message);
  const none = new Notifier({ address: null, watchdogMs: 1 }, { onError });
  none.ready("");
  none.stopping();
  expect(errors).toEqual([]);

  const gone = new Notifier({ address: "/nowhere/notify", watchdogMs: 0 }, { onError });
  gone.ready("");
  gone.stopping();
  expect(errors).toEqual(["Cannot send to /nowhere/notify: ENOENT"]);
});

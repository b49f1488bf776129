import { expect, test } from "bun:test";
import { start, within } from "../harness.ts";
import { allGone, childrenOf, isRunning, onePool, startedPids } from "./support.ts";

test("a pool whose workers never live is given up with one clear error, and the server ends with 1", async () => {
  await using server = await start({ files: { "pid.php": "<?php" }, config: onePool({ worker_count: 1 }) });
  const hosts = childrenOf(server.pid);
  const killing = setInterval(() => {
    for (const pid of startedPids(server)) if (isRunning(pid)) process.kill(pid, "SIGKILL");
  }, 5);
  const code = await within(server.exited, "it has given up", 35_000);
  clearInterval(killing);
  expect(code).toBe(1);
  // Each start is told, and they are few: it waits longer and longer in between.
  expect(startedPids(server)).toBeArrayOfSize(10);
  const { text } = server.log;
  expect(text.match(/the pool is given up: .*/g)).toEqual([
    "the pool is given up: its workers end right after their start, 10 times in a row. Requests to it get 503 until phprun is reloaded or started again. pool=default",
  ]);
  expect(text).toEndWith("phprun: Cannot go on: every pool has been given up, see the log\n");
  await allGone(hosts);
}, 40_000);

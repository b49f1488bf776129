import { expect, test } from "bun:test";
import fc from "fast-check";
import { anything } from "./pool-model-commands.ts";
import { ModelPool } from "./pool-model-pool.ts";

/** More sequences, or the one that failed: PHPRUN_MODEL_RUNS=100000 PHPRUN_MODEL_SEED=1 bun test … */
const runs = Number(process.env["PHPRUN_MODEL_RUNS"] ?? 2000);
const seed = process.env["PHPRUN_MODEL_SEED"];

test("whatever comes, no request is lost or answered twice, no worker counted twice, and the limits are kept", () => {
  const result = fc.check(
    fc.property(
      fc.boolean(),
      fc.commands(anything, { maxCommands: 80, size: "max" }),
      (threads, commands) => {
        const pool = new ModelPool(threads);
        try {
          fc.modelRun(() => ({ model: {}, real: pool }), commands);
          pool.finish();
        } finally {
          pool.dispose();
        }
      },
    ),
    { numRuns: runs, ...(seed === undefined ? {} : { seed: Number(seed) }) },
  );
  // The rule that was broken goes first: a report has it last, behind a stack.
  const rule = result.errorInstance instanceof Error ? result.errorInstance.message : "";
  expect(result.failed ? `${rule}\n${fc.defaultReportMessage(result)}` : "").toBe("");
  expect(result.numRuns).toBe(runs);
}, 600_000);

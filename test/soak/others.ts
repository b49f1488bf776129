import { availableParallelism } from "node:os";
import { cpuSeconds, machineSeconds } from "../../bench/processes.ts";

/** How much of the machine everybody else took meanwhile: times and rates are worth that much less. */
export class Others {
  readonly #startedMs = performance.now();
  readonly #machine = machineSeconds();
  readonly #ours = cpuSeconds([process.pid]);

  describe(): string {
    const { busy, stolen } = machineSeconds();
    const ours = cpuSeconds([process.pid]) - this.#ours;
    const others = Math.max(0, busy + stolen - this.#machine.busy - this.#machine.stolen - ours);
    const seconds = ((performance.now() - this.#startedMs) / 1000) * availableParallelism();
    return `others took ${Math.round((100 * others) / seconds)} % of the machine meanwhile`;
  }
}

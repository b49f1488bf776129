import { constants } from "node:os";
import type { PoolConfig } from "../config/config.ts";
import type { Exit } from "./messages.ts";

const { SIGSEGV, SIGBUS } = constants.signals;

/**
 * Notices crashes that come in a burst: what makes worker after worker fail is likely to be in what they share,
 * a damaged opcache for one. As php-fpm's emergency_restart_threshold and emergency_restart_interval. Passive.
 */
export class CrashBurst {
  readonly #rules: PoolConfig["emergencyRestart"];
  #times: number[] = [];

  constructor(rules: PoolConfig["emergencyRestart"]) {
    this.#rules = rules;
  }

  /** A worker has ended. True when with it the burst is full; it then starts to count anew. */
  note(exit: Exit, nowMs: number): boolean {
    const { threshold, intervalMs } = this.#rules;
    if (threshold === 0 || !("signal" in exit) || (exit.signal !== SIGSEGV && exit.signal !== SIGBUS)) {
      return false;
    }
    this.#times = [...this.#times.filter((time) => nowMs - time < intervalMs), nowMs];
    if (this.#times.length < threshold) return false;
    this.#times = [];
    return true;
  }
}

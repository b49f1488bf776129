import { ask } from "./answers.ts";
import { isRight, type RightAnswer } from "./right-answer.ts";
import type { Stack } from "./stacks/stack.ts";
import type { Workload } from "./workloads.ts";

const SAMPLE_MS = 500;

/** While the load runs, now and then asks once more, and compares the whole answer. */
export class Sampler implements Disposable {
  samples = 0;
  curlCpuSeconds = 0;
  readonly #stack: Stack;
  readonly #workload: Workload;
  readonly #right: RightAnswer;
  readonly #timer: Timer;
  #pending: Promise<void> | undefined;
  #wrong: string | undefined;

  constructor(stack: Stack, workload: Workload, right: RightAnswer) {
    this.#stack = stack;
    this.#workload = workload;
    this.#right = right;
    this.#timer = setInterval(() => {
      this.#pending ??= this.#sample().finally(() => {
        this.#pending = undefined;
      });
    }, SAMPLE_MS);
  }

  /** Waits for the last answer. Throws when any was wrong. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.#pending;
    if (this.#wrong !== undefined) throw new Error(`rejected: ${this.#wrong}`);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #sample(): Promise<void> {
    try {
      const { body, curlCpuSeconds } = await ask(this.#stack, this.#workload);
      this.curlCpuSeconds += curlCpuSeconds;
      if (!isRight(this.#right, body)) this.#wrong ??= "an answer under load was wrong";
    } catch (error) {
      this.#wrong ??= `a request under load failed: ${error instanceof Error ? error.message : String(error)}`;
    }
    this.samples++;
  }
}

import { numberIn, templateOf } from "./right-answer.ts";
import type { Stack } from "./stacks/stack.ts";
import type { Workload } from "./workloads.ts";

/**
 * Sessions of one server, begun before the load so that it only goes on with them. Each counts its requests: in the
 * end no session may have missed one, or counted another one's.
 */
export class Sessions {
  /** What to send as Cookie. */
  readonly cookies: readonly string[];
  readonly #stack: Stack;
  readonly #workload: Workload;
  #answered: number;
  /** Under way when a load was over: they may have been counted or not. */
  #unsure = 0;

  private constructor(stack: Stack, workload: Workload, cookies: readonly string[]) {
    this.#stack = stack;
    this.#workload = workload;
    this.cookies = cookies;
    this.#answered = cookies.length;
  }

  /** Undefined for a workload without sessions. */
  static async begin(stack: Stack, workload: Workload): Promise<Sessions | undefined> {
    if (workload.sessions === undefined) return undefined;
    const cookies: string[] = [];
    while (cookies.length < workload.sessions) {
      const response = await askWith(stack, workload, undefined);
      if (visitsIn(stack, workload, await response.text()) !== 1)
        throw new Error(`${stack.title} begins a session with another number than 1`);
      const set = response.headers.getSetCookie().map((cookie) => cookie.split(";", 1)[0]!);
      if (set.length === 0) throw new Error(`${stack.title} begins no session`);
      cookies.push(set.join("; "));
    }
    return new Sessions(stack, workload, cookies);
  }

  asked(answered: number, connections: number): void {
    this.#answered += answered;
    this.#unsure += connections;
  }

  /** Throws when the sessions together have not counted every request once. */
  async check(): Promise<void> {
    let visits = 0;
    for (const cookie of this.cookies) {
      const response = await askWith(this.#stack, this.#workload, cookie);
      visits += visitsIn(this.#stack, this.#workload, await response.text()) - 1;
    }
    if (visits >= this.#answered && visits <= this.#answered + this.#unsure) return;
    throw new Error(
      `rejected: the sessions of ${this.#stack.title} have counted ${visits} requests, not ${this.#answered} to ${this.#answered + this.#unsure}`,
    );
  }
}

async function askWith(stack: Stack, { path }: Workload, cookie: string | undefined): Promise<Response> {
  const url = `http://127.0.0.1:${stack.port}${path}`;
  return await fetch(url, cookie === undefined ? {} : { headers: { Cookie: cookie } });
}

function visitsIn(stack: Stack, workload: Workload, text: string): number {
  const right = templateOf(workload, stack);
  const visits = right !== undefined && "template" in right ? numberIn(right.template, text) : Number.NaN;
  if (Number.isNaN(visits))
    throw new Error(`${stack.title} answers with ${JSON.stringify(text.slice(0, 120))}`);
  return visits;
}

import type { Random } from "./random.ts";

/** What a program is run with. */
export interface Setup {
  /** What starts phprun: the executable, or Bun and the source. */
  readonly command: readonly string[];
  /** The section `php` of the configuration: isolation and libphp; all else phprun chooses. */
  readonly php: { readonly isolation?: "thread" | "process"; readonly libphp?: string };
  /** How long the program is to load the server, about. */
  readonly seconds: number;
  /** For programs that count: requests, or what `counted` of the program says. */
  readonly requests: number;
  readonly random: Random;
  readonly say: (line: string) => void;
}

/** One figure, and what it should be. */
export interface Figure {
  readonly name: string;
  readonly value: string;
  /** Empty for what is only told. */
  readonly goal: string;
  readonly passed: boolean;
  /** Times and rates depend on what else the machine does; the test suite does not judge them. */
  readonly timing: boolean;
}

export interface Outcome {
  readonly figures: readonly Figure[];
  /** What went wrong, in detail. */
  readonly notes: readonly string[];
  /** Why it could not be run with this build; null when it was. */
  readonly unavailable: string | null;
}

export interface Program {
  readonly name: string;
  readonly about: string;
  /** What `requests` counts. @default {"requests"} */
  readonly counted?: string;
  readonly defaults: { readonly seconds: number; readonly requests: number };
  readonly run: (setup: Setup) => Promise<Outcome>;
}

/** The figures of a run as they come together. */
export class Report implements Outcome {
  readonly figures: Figure[] = [];
  readonly notes: string[] = [];
  unavailable: string | null = null;

  /** A count that depends on nothing but the server. */
  count(name: string, value: number | string, goal: string, passed: boolean): void {
    this.figures.push({ name, value: String(value), goal, passed, timing: false });
  }

  /** A time or a rate. */
  timing(name: string, value: string, goal: string, passed: boolean): void {
    this.figures.push({ name, value, goal, passed, timing: true });
  }

  /** Told, not judged. */
  tell(name: string, value: number | string): void {
    this.figures.push({ name, value: String(value), goal: "", passed: true, timing: false });
  }

  none(name: string, value: number): void {
    this.count(name, value, "0", value === 0);
  }

  note(...lines: string[]): void {
    this.notes.push(...lines);
  }
}

export function unavailable(why: string): Outcome {
  return { figures: [], notes: [], unavailable: why };
}

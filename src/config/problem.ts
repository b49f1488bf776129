import { PhprunError } from "../errors.ts";
import type { Path } from "./tree.ts";

/** One thing that is wrong with a configuration. */
export interface Problem {
  /** Where it was written: `phprun.yaml:3:5`, `PHPRUN_SERVER__PORT`, `--port`; null when it was not. */
  readonly where: string | null;
  readonly message: string;
}

/** Notes that the value at a path breaks a rule. */
export type Report = (path: Path, rule: string) => void;

export function problemLine(problem: Problem): string {
  return problem.where === null ? problem.message : `${problem.where}: ${problem.message}`;
}

/** Every problem in one error, one per line. */
export function configError(problems: readonly Problem[]): PhprunError {
  const lines = [...new Set(problems.map(problemLine))];
  const title =
    lines.length === 1
      ? "Cannot use this configuration:"
      : `Cannot use this configuration, ${lines.length} errors:`;
  return new PhprunError("CONFIG_INVALID", [title, ...lines.map((line) => `  ${line}`)].join("\n"));
}

/** A value as it appears in a message: short, on one line. */
export function received(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

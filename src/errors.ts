/**
 * An error meant for a person: the message says what cannot be done, the rule, and the value received.
 * `code` is stable; callers and tests look at it, never at the text.
 */
export class PhprunError extends Error {
  readonly code: string;
  /** Exit code of the process when this error ends it: 1 failed at run time, 2 wrong use or configuration. */
  readonly exitCode: 1 | 2;

  constructor(code: string, message: string, options: { exitCode?: 1 | 2; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = "PhprunError";
    this.code = code;
    this.exitCode = options.exitCode ?? (code.startsWith("CONFIG_") || code.startsWith("USAGE_") ? 2 : 1);
  }
}

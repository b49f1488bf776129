/** One log record of a host or worker, put together again. */
export interface LogRecord {
  /**
   * Two are no messages. "slow" is the answer to PoolMemory.look(): where the request is, in one line. "renew": the
   * host wants to be replaced, and why. Both without a script.
   */
  readonly level: (typeof LEVELS)[number];
  /** null: the host itself. */
  readonly worker: number | null;
  readonly request: number;
  readonly script: string;
  readonly text: string;
  /** What phprun_log() was given beside its message; undefined when nothing was. */
  readonly fields?: Readonly<Record<string, string | number | boolean | null>>;
}

/** LOG_LEVEL_* of ffi/php/shim.h. */
const LEVELS = ["error", "warn", "info", "debug", "slow", "renew"] as const;
const HEAD_BYTES = 18;
const NO_WORKER = 0xffff_ffff;
/** RECORD_BYTES of ffi/php/log.c. */
const LONGEST_RECORD = 4096;
/** PHPRUN_MAX_WORKERS of ffi/transport/transport.h. */
const MOST_WORKERS = 512;
/** Bits of a record's `more`, as ffi/php/log.c sets them. */
const MORE_FOLLOWS = 1;
const MORE_FIELDS = 2;
/** What one message may grow to over several records. */
const LONGEST_TEXT = 64 * 1024;

/** Reads the records that ffi/php/log.c writes, however the socket cuts them. */
export class LogChannel {
  #rest: Buffer = Buffer.alloc(0);
  readonly #begun = new Map<number, string>();

  *read(bytes: Uint8Array): Generator<LogRecord> {
    this.#rest = this.#rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= HEAD_BYTES) {
      const size = 4 + this.#rest.readUInt32LE(0);
      if (size > LONGEST_RECORD || size < HEAD_BYTES) {
        // Nothing of ours: whatever a script has written here, what follows cannot be told apart.
        this.#rest = Buffer.alloc(0);
        return;
      }
      if (this.#rest.length < size) return;
      const record = this.#record(this.#rest.subarray(0, size));
      this.#rest = this.#rest.subarray(size);
      if (record !== undefined) yield record;
    }
  }

  #record(bytes: Buffer): LogRecord | undefined {
    const level = LEVELS[bytes.readUInt16LE(4)] ?? "info";
    const worker = bytes.readUInt32LE(8);
    const scriptLength = bytes.readUInt16LE(16);
    const part = bytes.toString("utf8", HEAD_BYTES + scriptLength);
    // Always whole: it may come between two parts of a message of the same worker.
    const whole = level === "slow" || level === "renew";
    const text = whole ? part : (this.#begun.get(worker) ?? "") + part;
    // No other worker is begun with: whoever writes here could fill the memory with them.
    const flags = bytes.readUInt16LE(6);
    const more = !whole && (flags & MORE_FOLLOWS) !== 0 && (worker < MOST_WORKERS || worker === NO_WORKER);
    if (more && text.length < LONGEST_TEXT) {
      this.#begun.set(worker, text);
      return undefined;
    }
    if (!whole) this.#begun.delete(worker);
    const { message, fields } =
      !whole && flags & MORE_FIELDS ? split(text) : { message: text, fields: undefined };
    return {
      level,
      worker: worker === NO_WORKER ? null : worker,
      request: bytes.readUInt32LE(12),
      script: bytes.toString("utf8", HEAD_BYTES, HEAD_BYTES + scriptLength),
      text: message,
      ...(fields === undefined ? {} : { fields }),
    };
  }
}

/** What stands on each line of a worker's: the application's own fields do not take their place. */
const OURS = new Set(["pool", "worker", "gen", "pid", "script"]);

/** A message and what stands behind its last NUL: a JSON object of the application's. Nested values stay JSON. */
function split(text: string): Pick<LogRecord, "fields"> & { message: string } {
  const at = text.lastIndexOf("\0");
  try {
    const parsed: unknown = JSON.parse(text.slice(at + 1));
    const entries = Object.entries(parsed ?? {}).map(([name, value]) => [
      OURS.has(name) ? `${name}_` : name,
      typeof value === "object" && value !== null ? JSON.stringify(value) : value,
    ]);
    return { message: text.slice(0, at), fields: Object.fromEntries(entries) };
  } catch {
    return { message: text.replaceAll("\0", " ") };
  }
}

import type { PhpReport } from "../php/report.ts";

/** Descriptors a host is started with. */
export const HOST_FDS = { control: 3, pool: 4, wake: 5, spool: 6, log: 7 } as const;

/** Environment variable that carries HostOptions, as JSON; removed before PHP starts. */
export const HOST_OPTIONS_VARIABLE = "PHPRUN_HOST_OPTIONS";

/** PHPRUN_APP_* of ffi/php/php.h. */
export const AppOption = {
  resetIni: 1,
  resetEnv: 2,
  resetCwd: 4,
  resetHandlers: 8,
  resetTimezone: 16,
  resetLocale: 32,
  recycleOnException: 64,
  template: 128,
  templateStrict: 256,
  paranoid: 512,
  refork: 1024,
} as const;

/** Worker mode: the script that boots the application, and what else a host has to know of it. */
export interface AppOptions {
  readonly script: string;
  /** $_SERVER while it boots. */
  readonly scriptName: string;
  readonly documentRoot: string;
  /** AppOption, added up. */
  readonly options: number;
}

/** What keeps workers apart: processes of their own, or only PHP's own walls between threads. */
export type Isolation = "process" | "thread";

export interface HostOptions {
  readonly libphp: string;
  /** "key=value" lines that win over php.ini. */
  readonly ini: string;
  readonly sapiName: string;
  readonly poolName: string;
  readonly jsonPost: boolean;
  /** FrankenPHP's functions exist under their names too. */
  readonly frankenphp: boolean;
  /** Worker mode; null: classic mode. */
  readonly app: AppOptions | null;
  /** What a worker is: a forked process, or a thread of the host. */
  readonly isolation: Isolation;
  /** Of a worker that is a thread. */
  readonly threadStackBytes: number;
  /** Workers can be asked where they are. */
  readonly slowLog: boolean;
  /** Who the host and its workers run as; null: as the front does. */
  readonly runAs: { readonly name: string; readonly uid: number; readonly gid: number } | null;
  readonly nice: number;
  /** Processors they may run on; empty: all. */
  readonly cpuAffinity: readonly number[];
  /** Report what PHP is, then end. */
  readonly inspectOnly: boolean;
}

/** The first thing a host says, before any event. */
export type HostReport = { ok: true; report: PhpReport } | { ok: false; code: string; message: string };

/** Commands to a host, as ffi/php/host.c reads them. */
export const Command = {
  /** Argument: the generation. */
  spawn: 1,
  /** The slot says whose deadline it is. */
  deadline: 2,
  end: 3,
  /** Argument: id of the request that must still be the worker's, or ANY_REQUEST. */
  kill: 4,
  /** A worker becomes the template of further ones. */
  promote: 5,
} as const;

/** PHPRUN_NONE: kill the worker whatever it does. */
export const ANY_REQUEST = 0xffff_ffff;

/** Events from a host, as ffi/php/host.c writes them. */
export type HostEvent =
  | { kind: "report"; result: HostReport }
  | { kind: "spawned"; worker: number; pid: number; generation: number }
  | { kind: "spawn-failed"; worker: number; errno: number }
  | { kind: "exited"; worker: number; pid: number; exit: Exit }
  /** Its application has booted: it is the template of its workers. */
  | { kind: "booted" }
  /** A worker is none any more, but the template of further ones. */
  | { kind: "promoted"; worker: number; pid: number };

/** How a process ended. */
export type Exit = { code: number } | { signal: number };

export function encodeCommand(kind: number, worker: number, argument: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(kind, worker, argument).buffer);
}

export interface HostCommand {
  readonly kind: number;
  readonly worker: number;
  readonly argument: number;
}

const COMMAND_BYTES = 12;

/** Turns the bytes of a control socket into commands, however they are cut. The fork server reads its own. */
export class CommandReader {
  #rest: Buffer = Buffer.alloc(0);

  *read(bytes: Uint8Array): Generator<HostCommand> {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= COMMAND_BYTES) {
      const [kind = 0, worker = 0, argument = 0] = [0, 4, 8].map((at) => this.#rest.readUInt32LE(at));
      this.#rest = this.#rest.subarray(COMMAND_BYTES);
      yield { kind, worker, argument };
    }
  }
}

/** As ffi/php/host.c writes them. */
export function encodeEvent(event: Exclude<HostEvent, { kind: "report" }>): Uint8Array {
  switch (event.kind) {
    case "spawned":
      return eventBytes(1, event.worker, event.pid, event.generation);
    case "spawn-failed":
      return eventBytes(2, event.worker, 0, event.errno);
    case "exited":
      return eventBytes(3, event.worker, event.pid, statusOf(event.exit));
    case "booted":
      return eventBytes(4, 0, 0, 0);
    case "promoted":
      return eventBytes(5, event.worker, event.pid, 0);
    default:
      return event satisfies never;
  }
}

function eventBytes(...words: [kind: number, worker: number, pid: number, argument: number]): Uint8Array {
  return new Uint8Array(Uint32Array.from(words).buffer);
}

/** u32 length, then JSON. */
export function encodeHostReport(result: HostReport): Uint8Array {
  const json = Buffer.from(JSON.stringify(result));
  const head = Buffer.alloc(4);
  head.writeUInt32LE(json.length);
  return Buffer.concat([head, json]);
}

const EVENT_BYTES = 16;

/** Turns the bytes of a control socket into events, however they are cut. */
export class HostEventReader {
  #rest: Buffer = Buffer.alloc(0);
  #reported = false;

  *read(bytes: Uint8Array): Generator<HostEvent> {
    this.#rest = this.#rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes]);
    for (;;) {
      const event = this.#next();
      if (event === undefined) return;
      yield event;
    }
  }

  #next(): HostEvent | undefined {
    if (!this.#reported) return this.#report();
    if (this.#rest.length < EVENT_BYTES) return undefined;
    const [kind, worker, pid, argument] = [0, 4, 8, 12].map((at) => this.#rest.readUInt32LE(at)) as [
      number,
      number,
      number,
      number,
    ];
    this.#rest = this.#rest.subarray(EVENT_BYTES);
    switch (kind) {
      case 1:
        return { kind: "spawned", worker, pid, generation: argument };
      case 2:
        return { kind: "spawn-failed", worker, errno: argument };
      case 3:
        return { kind: "exited", worker, pid, exit: exitOf(argument) };
      case 4:
        return { kind: "booted" };
      case 5:
        return { kind: "promoted", worker, pid };
      default:
        throw new Error(`A host sent an event of unknown kind ${kind}`);
    }
  }

  #report(): HostEvent | undefined {
    if (this.#rest.length < 4) return undefined;
    const length = this.#rest.readUInt32LE(0);
    if (this.#rest.length < 4 + length) return undefined;
    const result = JSON.parse(this.#rest.subarray(4, 4 + length).toString()) as HostReport;
    this.#rest = this.#rest.subarray(4 + length);
    this.#reported = true;
    return { kind: "report", result };
  }
}

function statusOf(exit: Exit): number {
  return "signal" in exit ? exit.signal : exit.code << 8;
}

/** A wait status, as waitpid(2) gives it. */
function exitOf(status: number): Exit {
  const signal = status & 0x7f;
  return signal === 0 ? { code: (status >> 8) & 0xff } : { signal };
}

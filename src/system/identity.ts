import { becomeUser, limitOpenFiles, setAffinity, setNice } from "../../ffi/system.ts";
import { PhprunError } from "../errors.ts";

/** Who a host and its workers are to the system. */
export interface Identity {
  /** null: whoever started phprun. */
  readonly runAs: { readonly name: string; readonly uid: number; readonly gid: number } | null;
  /** -20 to 19; 0 leaves it as it is. */
  readonly nice: number;
  /** Empty: all processors. */
  readonly cpuAffinity: readonly number[];
  /**
   * How many files PHP, and programs that scripts start, may have open: the soft limit. They may raise it to the hard
   * one, which stays.
   *
   * Bun has raised the soft limit to the hard one when it started, and what it was is gone. For the front that is
   * right. Programs that close every descriptor up to the limit before they begin would take minutes with the thousand
   * million of some container engines, and select(), in PHP's stream_select() too, knows none above 1023.
   *
   * @default 1024, as the system has it
   */
  readonly openFiles?: number;
}

const OPEN_FILES = 1024;

/**
 * Turns this process into what its pool says, before PHP is opened: PHP's own start runs the code of extensions, and
 * needs no more rights than scripts. What takes rights comes first, the user last.
 */
export function applyIdentity(pool: string, identity: Identity): void {
  const { runAs, nice, cpuAffinity, openFiles = OPEN_FILES } = identity;
  limitOpenFiles(openFiles);
  if (nice !== 0) attempt(pool, `with nice ${nice}`, () => setNice(nice));
  if (cpuAffinity.length > 0) {
    attempt(pool, `on processors ${cpuAffinity.join(", ")}`, () => setAffinity(cpuAffinity));
  }
  if (runAs !== null) attempt(pool, `as ${runAs.name}`, () => becomeUser(runAs));
}

function attempt(pool: string, how: string, act: () => void): void {
  try {
    act();
  } catch (cause) {
    const reason = (cause instanceof Error ? cause.message : String(cause)).replace(/^Cannot [^:]*: /, "");
    throw new PhprunError("POOL_IDENTITY", `Cannot run pool '${pool}' ${how}: ${reason}${remedy(reason)}`, {
      cause,
    });
  }
}

function remedy(reason: string): string {
  if (reason.includes("EINVAL")) return ", this system has none of them";
  if (!/EPERM|EACCES|not permitted/.test(reason)) return "";
  return process.getuid?.() === 0
    ? ", root lacks the capability here (CAP_SETUID, CAP_SETGID, CAP_SYS_NICE)"
    : ", phprun must be started as root for it";
}

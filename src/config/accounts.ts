import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import type { PoolConfig } from "./config.ts";
import { received } from "./problem.ts";

type RunAs = NonNullable<PoolConfig["runAs"]>;
type Account = string | number | null;

/** Why an account cannot be used: the key it was given under, and the rule it breaks. */
export interface AccountFault {
  readonly key: "user" | "group";
  readonly rule: string;
}

/** The ids behind a pool's `user` and `group`; null when it names none. An id may be given as a number. */
export function findRunAs(user: Account, group: Account): RunAs | AccountFault | null {
  if (user === null)
    return group === null
      ? null
      : { key: "group", rule: `must come with a user, received ${received(group)}` };
  const found = look("passwd", user);
  const uid = idOf(found, user);
  if (uid === undefined)
    return { key: "user", rule: `must be a user of this system, received ${received(user)}` };
  const gid = group === null ? found?.group : idOf(look("group", group), group);
  if (gid === undefined && group === null)
    return {
      key: "user",
      rule: `must come with a group, for no user of this system has the id ${uid}, received ${received(user)}`,
    };
  if (gid === undefined)
    return { key: "group", rule: `must be a group of this system, received ${received(group)}` };
  return { name: found?.name ?? String(uid), uid, gid };
}

/** A directory service that does not answer must not keep the server from starting. */
const LOOK_UP_MS = 5_000;

interface Entry {
  readonly name: string;
  readonly id: number;
  /** A user's own group. */
  readonly group: number | undefined;
}

/** A number is an id, whether or not the system has a name for it: containers often do not. */
function idOf(entry: Entry | undefined, account: string | number): number | undefined {
  if (entry !== undefined) return entry.id;
  const text = String(account);
  return /^\d{1,10}$/.test(text) && Number(text) < 2 ** 32 - 1 ? Number(text) : undefined;
}

/**
 * `getent` also asks LDAP and the like; the file is for systems without it. A name wins over an id, as in chown(1).
 */
function look(table: "passwd" | "group", account: string | number): Entry | undefined {
  const wanted = String(account);
  // A colon or a line break would fit no entry; a dash would be taken for an option, and NUL cannot be passed on.
  if (/^-|[:\s\0]/.test(wanted)) return undefined;
  const { status, stdout, error } = spawnSync("getent", [table, wanted], {
    encoding: "utf8",
    timeout: LOOK_UP_MS,
  });
  const text = error === undefined && (status === 0 || status === 2) ? stdout : readTable(table);
  const entries = text.split("\n").flatMap(parseEntry);
  return entries.find(({ name }) => name === wanted) ?? entries.find(({ id }) => String(id) === wanted);
}

function readTable(table: string): string {
  try {
    return readFileSync(`/etc/${table}`, "utf8");
  } catch {
    return "";
  }
}

/** `name:password:id:group:…`, and in the table of groups `name:password:id:members`. */
function parseEntry(line: string): Entry[] {
  const [name = "", , id = "", group = ""] = line.split(":");
  // An empty or odd group would count as 0, which is root's.
  return name === "" || !/^\d+$/.test(id)
    ? []
    : [{ name, id: Number(id), group: /^\d+$/.test(group) ? Number(group) : undefined }];
}

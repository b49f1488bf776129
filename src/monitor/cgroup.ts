import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A control group that counts our memory: our own, or one above it. */
export interface MemoryCgroup {
  readonly version: 1 | 2;
  readonly folder: string;
}

/** A limit on memory, and how much of it is used by everything below it. */
export interface CgroupMemory {
  readonly folder: string;
  readonly limitBytes: number;
  /** Without file pages that nobody has used lately: the kernel drops those before it ends a process. */
  readonly usedBytes: number;
}

/**
 * The control groups that count the memory of this process, its own first. Empty when there are none, or none that
 * can be seen. `root` is where the file system begins; tests have one of their own.
 */
export function findMemoryCgroups(root = "/"): MemoryCgroup[] {
  const memberships = read(join(root, "proc/self/cgroup")).split("\n");
  const mounts = read(join(root, "proc/self/mountinfo")).split("\n").flatMap(parseMount);
  const found: MemoryCgroup[] = [];
  for (const membership of memberships) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(membership) ?? [];
    if (controllers === undefined || path === undefined) continue;
    const version = controllers === "" ? 2 : controllers.split(",").includes("memory") ? 1 : undefined;
    const mount = mounts.find((candidate) => candidate.version === version);
    if (version === undefined || mount === undefined) continue;
    const file = version === 2 ? "memory.current" : "memory.usage_in_bytes";
    for (const folder of upwards(join(root, mount.place), below(mount.root, path))) {
      if (existsSync(join(folder, file))) found.push({ version, folder });
    }
  }
  return found;
}

/** Limit and use of the group that is fullest: it is where the kernel would end a process first. Null: no limit. */
export function readCgroups(groups: readonly MemoryCgroup[]): CgroupMemory | null {
  return groups.reduce<CgroupMemory | null>((fullest, group) => {
    const memory = group.version === 2 ? readVersion2(group.folder) : readVersion1(group.folder);
    if (memory === null) return fullest;
    return fullest === null || share(memory) > share(fullest) ? memory : fullest;
  }, null);
}

/** The lowest limit of all, for what is planned with. Null: no limit. */
export function lowestLimit(groups: readonly MemoryCgroup[]): number | null {
  const limits = groups.map(({ version, folder }) =>
    version === 2 ? limitOfVersion2(folder) : limitOfVersion1(folder),
  );
  const lowest = Math.min(...limits);
  return Number.isFinite(lowest) ? lowest : null;
}

const share = (memory: CgroupMemory): number => memory.usedBytes / memory.limitBytes;

function readVersion2(folder: string): CgroupMemory | null {
  const limitBytes = limitOfVersion2(folder);
  if (!Number.isFinite(limitBytes)) return null;
  return withUse(folder, limitBytes, "memory.current", "inactive_file");
}

/** Above `memory.high` the kernel does not end processes, but brings them to a near standstill: no better. */
function limitOfVersion2(folder: string): number {
  return Math.min(limitIn(folder, "memory.max"), limitIn(folder, "memory.high"));
}

function readVersion1(folder: string): CgroupMemory | null {
  const limitBytes = limitOfVersion1(folder);
  if (!Number.isFinite(limitBytes)) return null;
  return withUse(folder, limitBytes, "memory.usage_in_bytes", "total_inactive_file");
}

/** Groups above that a container cannot see still tell their limit in `memory.stat`. */
function limitOfVersion1(folder: string): number {
  return Math.min(
    limitIn(folder, "memory.limit_in_bytes"),
    limitOf(statistic(folder, "hierarchical_memory_limit")),
  );
}

function withUse(folder: string, limitBytes: number, use: string, inactive: string): CgroupMemory | null {
  const used = Number.parseInt(read(join(folder, use)), 10);
  if (Number.isNaN(used)) return null;
  const dropped = Number(statistic(folder, inactive) || 0);
  return { folder, limitBytes, usedBytes: Math.max(0, used - dropped) };
}

function limitIn(folder: string, file: string): number {
  return limitOf(read(join(folder, file)).trim());
}

function statistic(folder: string, name: string): string {
  return new RegExp(`^${name} (\\d+)$`, "m").exec(read(join(folder, "memory.stat")))?.[1] ?? "";
}

/** Bytes; Infinity for "max", for version 1's way to say so (nearly 2^63), and for what is not there or 0. */
function limitOf(text: string): number {
  const bytes = /^\d+$/.test(text) ? Number(text) : 0;
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : Number.POSITIVE_INFINITY;
}

interface Mount {
  readonly version: 1 | 2;
  /** Which group is mounted, as a path in the whole hierarchy. */
  readonly root: string;
  readonly place: string;
}

/** Fields: id, parent, device, root, place, options, any number of tags, "-", type, source, super options. */
function parseMount(line: string): Mount[] {
  const [before, after] = line.split(" - ");
  const [, , , root = "/", place] = before?.split(" ") ?? [];
  const [type, , options = ""] = after?.split(" ") ?? [];
  if (place === undefined) return [];
  if (type === "cgroup2") return [{ version: 2, root, place }];
  return type === "cgroup" && options.split(",").includes("memory") ? [{ version: 1, root, place }] : [];
}

/** A group's path below what is mounted; empty when it is elsewhere, and the mounted one is all that can be seen. */
function below(mounted: string, path: string): string[] {
  const prefix = mounted === "/" ? "/" : `${mounted}/`;
  const parts = path.startsWith(prefix) ? path.slice(prefix.length).split("/") : [];
  return parts.includes("..") ? [] : parts.filter((part) => part !== "");
}

function upwards(place: string, parts: readonly string[]): string[] {
  return [...parts, ""].map((_, index) => join(place, ...parts.slice(0, parts.length - index)));
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

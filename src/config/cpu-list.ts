import { readFileSync } from "node:fs";

/** No Linux has more processors; also keeps a mistyped range from becoming a list that fills the memory. */
const HIGHEST_CPU = 8191;

/** Read `0-3,5`, a number or a list of numbers: sorted, each once; a string says what is wrong with it. */
export function parseCpuList(value: string | number | readonly number[]): number[] | string {
  const cpus = new Set<number>();
  const parts = typeof value === "string" ? value.split(",") : [value].flat().map(String);
  if (parts.length === 0) return "must name at least one processor";
  for (const part of parts) {
    const match = /^\s*(\d{1,9})(?:-(\d{1,9}))?\s*$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? first);
    if (match === null || last < first) return 'must be numbers and rising ranges such as "0-3,5"';
    if (last > HIGHEST_CPU) return `must be numbers up to ${HIGHEST_CPU}`;
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return [...cpus].sort((a, b) => a - b);
}

/** Processors that this process may run on: those of the machine, or of its container. */
export function allowedCpus(): readonly number[] {
  const line = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  const cpus = parseCpuList(line ?? "");
  if (typeof cpus === "string") throw new Error("Cannot read Cpus_allowed_list in /proc/self/status");
  return cpus;
}

/** The short form: `0-3,5`. */
export function formatCpuList(cpus: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const cpu of cpus) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === cpu - 1) last[1] = cpu;
    else ranges.push([cpu, cpu]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

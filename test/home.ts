import { readFileSync } from "node:fs";

/** The home that the system's own table of users has, whatever $HOME says. */
export function homeOf(uid: number): string {
  const users = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"));
  return users.find(([, , id]) => Number(id) === uid)?.[5] ?? "";
}

/** For one log line: `src/Foo.php and 3 more files`, relative to `root` where that is shorter. */
export function describeChanges(changes: readonly string[], root: string): string {
  const [first, ...others] = changes;
  if (first === undefined) return "no files";
  const folder = root.endsWith("/") ? root : `${root}/`;
  const name = first.startsWith(folder) ? first.slice(folder.length) : first;
  if (others.length === 0) return name;
  return `${name} and ${others.length} more ${others.length === 1 ? "file" : "files"}`;
}

import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { homedir } from "node:os";

const NAME = /^libphp[0-9.]*(-?(zts|nts|embed))?\.so(\.[0-9]+)*$/;

const FOLDERS = [
  "/usr/lib",
  "/usr/lib64",
  "/usr/lib/*-linux-gnu",
  "/usr/lib/*-linux-musl",
  "/usr/local/lib",
  "/usr/local/lib64",
  "/usr/local/*/lib",
  "/opt/*/lib",
  "/opt/*/*/lib",
  "/opt/*/*/root/usr/lib64",
];

/** Every libphp on this machine that can be found, best first, each file once by its real path. */
export function libphpCandidates(configured: string): string[] {
  if (configured !== "auto") return [realPath(configured) ?? configured];
  const hinted = hintedFolders().flatMap((folder) => libraries(folder));
  const known = FOLDERS.flatMap((folder) => libraries(folder));
  return [...new Set([...hinted, ...known, ...ownBuilds()])];
}

/** What `./setup.sh --zts` has built: last, so that it does not displace the PHP of the system. */
function ownBuilds(): string[] {
  const prefix = process.env["PHPRUN_ZTS_PREFIX"];
  const cache = `${process.env["XDG_CACHE_HOME"] || `${homedir()}/.cache`}/phprun`;
  const built = entries(cache)
    .filter((name) => /^php-.*-zts$/.test(name))
    .sort((a, b) => b.localeCompare(a, "en", { numeric: true }))
    .map((name) => `${cache}/${name}/lib`)
    .filter(isTrusted);
  return [...(prefix ? [`${prefix}/lib`] : []), ...built].flatMap((folder) => libraries(folder));
}

/** Under sudo the home folder may still be that of a user who could put anything there for root to load. */
function isTrusted(folder: string): boolean {
  const owner = statSync(folder, { throwIfNoEntry: false })?.uid;
  return owner === 0 || owner === process.geteuid?.();
}

/** In one folder `libphp.so` goes first: it is the name that the system's choice is linked to. */
function libraries(pattern: string): string[] {
  return expand(pattern).flatMap((folder) =>
    entries(folder)
      .filter((name) => NAME.test(name))
      .sort((a, b) => a.length - b.length || (a < b ? 1 : -1))
      .flatMap((name) => realPath(`${folder}/${name}`) ?? []),
  );
}

/** Folders that a pattern with `*` in place of whole or partial names stands for. (Bun's globSync takes 10 ms for these.) */
function expand(pattern: string): string[] {
  let folders = [""];
  for (const part of pattern.split("/").slice(1)) {
    const [before = "", after] = part.split("*");
    folders = folders.flatMap((folder) => {
      if (after === undefined) return [`${folder}/${part}`];
      return entries(folder || "/")
        .filter(
          (name) =>
            name.length >= before.length + after.length && name.startsWith(before) && name.endsWith(after),
        )
        .map((name) => `${folder}/${name}`);
    });
  }
  return folders;
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Where `php-config`, if there is one, says that PHP was installed. */
function hintedFolders(): string[] {
  const tool = process.env["PHP_CONFIG"] ?? Bun.which("php-config");
  const prefix = tool ? prefixOf(tool) : undefined;
  if (!prefix?.startsWith("/")) return [];
  return [`${prefix}/lib`, `${prefix}/lib64`, `${prefix}/lib/*-linux-gnu`];
}

/** php-config is a shell script that begins with its answers; reading it saves the 20 ms of running it. */
function prefixOf(tool: string): string | undefined {
  try {
    const written = /^prefix=["']?([^"'$\n]+)["']?$/m.exec(readFileSync(tool, "utf8"));
    if (written !== null) return written[1];
    const { stdout, success } = Bun.spawnSync([tool, "--prefix"], { stderr: "ignore", timeout: 5_000 });
    return success ? stdout.toString().trim() : undefined;
  } catch {
    return undefined;
  }
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

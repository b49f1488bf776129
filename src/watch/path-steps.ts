import { readlinkSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** One look-up on the way to a file: a change of `name` in `folder` may make the path lead elsewhere. */
export interface PathStep {
  readonly folder: string;
  readonly name: string;
}

/** As many links as the kernel follows. */
const MAX_LINKS = 40;

/**
 * Every look-up that the kernel makes for an absolute path, through all symbolic links, in folders by their real
 * names. Whoever watches these folders hears of a switched link, a renamed parent and a file that comes back.
 */
export function pathSteps(path: string): PathStep[] {
  const steps: PathStep[] = [];
  let folder = "/";
  const rest = resolve(path).split("/").filter(Boolean);
  for (let links = 0, name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (name === "..") {
      folder = dirname(folder);
      continue;
    }
    steps.push({ folder, name });
    const here = folder === "/" ? `/${name}` : `${folder}/${name}`;
    const target = linkTarget(here);
    if (target === null) folder = here;
    else {
      if (++links > MAX_LINKS) break;
      if (target.startsWith("/")) folder = "/";
      rest.unshift(...target.split("/").filter((part) => part !== "" && part !== "."));
    }
  }
  return steps;
}

/** Null for what is no link, or is not there. */
function linkTarget(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

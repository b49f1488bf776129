import { statSync } from "node:fs";
import { resolve } from "node:path";
import { PhprunError } from "../errors.ts";

const KNOWN_PLACES = ["./phprun.yaml", "./config/phprun.yaml", "/etc/phprun/phprun.yaml"];

/** The configuration file to use, absolute: the flag's, the environment's, else the first known place; null for none. */
export function findConfigFile(
  flag: string | undefined,
  env: string | undefined,
  cwd: string,
): string | null {
  const named =
    flag !== undefined
      ? ["--config", flag]
      : env !== undefined && env !== ""
        ? ["PHPRUN_CONFIG", env]
        : undefined;
  if (named !== undefined) {
    const [source = "", path = ""] = named;
    const file = resolve(cwd, path);
    if (path !== "" && isFile(file)) return file;
    throw new PhprunError(
      "CONFIG_NOT_FOUND",
      `${source}: Cannot read the configuration: must be a file, received "${path}"`,
    );
  }
  return KNOWN_PLACES.map((place) => resolve(cwd, place)).find(isFile) ?? null;
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

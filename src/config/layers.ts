import { resolve } from "node:path";
import type { Assignment } from "./environment.ts";
import type { Field } from "./field.ts";
import { resolveListen } from "./listen.ts";
import { eachLeaf, fieldAt, type Path, setAt, type Tree, valueAt } from "./tree.ts";
import type { ConfigFile } from "./yaml-file.ts";

/** Later layers win. */
export const RANK = { default: 0, file: 1, environment: 2, flag: 3 } as const;

/**
 * The configuration as its sources lay it over one another. Knows for each key who set it last, and makes
 * relative paths absolute by the rule of the source they come from.
 */
export class Layers {
  readonly tree: Tree;
  readonly #file: ConfigFile | null;
  readonly #fileTree: Tree;
  readonly #set: { path: Path; rank: number; source: string }[] = [];
  readonly #cwd: string;

  constructor(file: ConfigFile | null, cwd: string) {
    this.#file = file;
    this.#cwd = cwd;
    this.tree = file === null ? {} : structuredClone(file.tree);
    if (file !== null) this.#resolvePaths([], file.base);
    this.#fileTree = structuredClone(this.tree);
  }

  assign(assignments: readonly Assignment[], rank: number): void {
    for (const { path, value, source } of assignments) {
      setAt(this.tree, path, value);
      this.#resolvePaths(path, this.#cwd);
      this.#set.push({ path, rank, source });
    }
  }

  /** Who set the value at a path: the layer's rank and, for people, the place. */
  origin(path: Path): { rank: number; where: string | null } {
    const override = this.#set.findLast(
      (entry) => startsWith(path, entry.path) || startsWith(entry.path, path),
    );
    if (override !== undefined) return { rank: override.rank, where: override.source };
    const rank = valueAt(this.#fileTree, path) === undefined ? RANK.default : RANK.file;
    return { rank, where: this.#file?.locate(path) ?? null };
  }

  #resolvePaths(below: Path, base: string): void {
    eachLeaf(
      valueAt(this.tree, below),
      (path, value) => {
        const field = fieldAt(path);
        if (typeof value !== "string" || value === "" || field === undefined) return;
        if (field["x-kind"] === "listen") setAt(this.tree, path, resolveListen(value, base));
        if (field["x-kind"] === "path" && !isKeyword(field, value))
          setAt(this.tree, path, resolve(base, value));
      },
      below,
    );
  }
}

/** `auto`, where a path may stand beside a fixed word. */
const isKeyword = (field: Field, value: string): boolean =>
  (field.anyOf ?? []).some((variant) => variant.const === value);

const startsWith = (path: Path, start: Path): boolean =>
  start.length <= path.length && start.every((part, index) => path[index] === part);

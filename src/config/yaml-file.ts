import { readFileSync } from "node:fs";
import { basename, dirname, relative } from "node:path";
import { type Document, isMap, isNode, isPair, isScalar, LineCounter, type Node, parseDocument } from "yaml";
import { PhprunError } from "../errors.ts";
import { configError } from "./problem.ts";
import { isTree, type Path, type Tree } from "./tree.ts";

/** A parsed configuration file that still knows where each key stands. */
export interface ConfigFile {
  readonly path: string;
  /** The folder that its relative paths start at. */
  readonly base: string;
  readonly tree: Tree;
  /** `file:line:column` of a key, or of the nearest one above it. */
  locate(path: Path): string;
}

export function readConfigFile(path: string, cwd: string): ConfigFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PhprunError("CONFIG_UNREADABLE", `Cannot read the configuration: ${reason}`, { cause });
  }
  return parseConfigText(text, path, cwd);
}

export function parseConfigText(text: string, path: string, cwd: string): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true });
  const shown = displayPath(path, cwd);
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${shown}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    throw configError(
      document.errors.map((error) => ({
        where: place(error.pos[0]),
        message: `Cannot parse YAML: ${error.message}`,
      })),
    );
  }
  keepNumbersAsWritten(document);
  const tree: unknown = toPlain(document, shown);
  if (tree !== null && !isTree(tree)) {
    throw configError([
      { where: `${shown}:1:1`, message: "Cannot use the file: must hold a map of keys at its top" },
    ]);
  }
  const folder = dirname(path);
  return {
    path,
    base: basename(folder) === "config" ? dirname(folder) : folder,
    tree: tree ?? {},
    locate: (wanted) => place(offsetOf(document, wanted)),
  };
}

function toPlain(document: Document, shown: string): unknown {
  try {
    return document.toJS() as unknown;
  } catch (error) {
    // Aliases that blow up, or that point nowhere.
    throw configError([
      {
        where: shown,
        message: `Cannot parse YAML: ${error instanceof Error ? error.message : String(error)}`,
      },
    ]);
  }
}

/** `precision: 10` or `VERSION: 1.10` under ini and env means the text, not the number 1.1. */
function keepNumbersAsWritten(document: Document): void {
  const visit = (node: unknown): void => {
    if (!isMap(node)) return;
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? key.value : key;
      if ((name !== "ini" && name !== "env") || !isMap(value)) continue;
      for (const pair of value.items) {
        if (isScalar(pair.value) && typeof pair.value.value === "number" && pair.value.source !== undefined) {
          pair.value.value = pair.value.source;
        }
      }
    }
  };
  visit(document.get("php"));
  const pools: unknown = document.get("pools");
  if (isNode(pools) && "items" in pools && Array.isArray(pools.items)) pools.items.forEach(visit);
}

function offsetOf(document: Document, path: Path): number {
  let node: unknown = document.contents;
  let offset = start(document.contents) ?? 0;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part));
      if (pair === undefined) break;
      offset = start(pair.key) ?? offset;
      node = pair.value;
    } else if (isNode(node) && "items" in node && Array.isArray(node.items) && typeof part === "number") {
      const item: unknown = node.items[part];
      if (item === undefined || isPair(item)) break;
      node = item;
      offset = start(item) ?? offset;
    } else {
      break;
    }
  }
  return offset;
}

function start(node: unknown): number | undefined {
  return isNode(node) ? (node as Node).range?.[0] : undefined;
}

export function displayPath(path: string, cwd: string): string {
  const near = relative(cwd, path);
  return near === "" || near.startsWith("..") ? path : near;
}

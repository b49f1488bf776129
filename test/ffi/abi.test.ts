import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { FFIFunction } from "bun:ffi";

import { LAYOUT, Outcome, Phase, RequestOption, WorkerState } from "../../ffi/layout.ts";
import { phpSymbols, transportSymbols } from "../../ffi/symbols.ts";
import { transport } from "../../ffi/transport.ts";
import { REQUEST_FIELDS } from "../../src/http/request-block.ts";
import { Command } from "../../src/pool/messages.ts";
import { runC } from "./c-program.ts";

const read = (file: string) => readFileSync(join(import.meta.dir, "../../ffi", file), "utf8");
/** Without comments: what is in them is no declaration. */
const code = (file: string) => read(file).replaceAll(/\/\*[\s\S]*?\*\//g, "");

const structs = { slot: "phprun_slot", worker: "phprun_worker", header: "phprun_header" };
const snake = (camel: string) =>
  camel.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/^_/, "");

/** slotBlockBytes → offsetof(struct phprun_slot, block_bytes); slotBytes → sizeof. */
function expressionOf(name: (typeof LAYOUT)[number]): string {
  const [, struct = "", field = ""] = /^(slot|worker|header)(.+)$/.exec(name) ?? [];
  const type = `struct ${structs[struct as keyof typeof structs]}`;
  return field === "Bytes" ? `sizeof(${type})` : `offsetof(${type}, ${snake(field)})`;
}

test("every offset is that of the field it is named after", async () => {
  const prints = LAYOUT.map((name) => `printf("%zu\\n", ${expressionOf(name)});`).join("\n");
  const printed = await runC(
    `#include "transport/transport.h"\n#include <stdio.h>\nint main(void) {\n${prints}\nreturn 0; }`,
  );
  const offsets = printed.trim().split("\n").map(Number);
  expect(Object.entries(transport().layout)).toEqual(LAYOUT.map((name, i) => [name, offsets[i] ?? -1]));
});

test("fields that are read as one word or two lie where a word can be read", () => {
  for (const [name, offset] of Object.entries(transport().layout)) {
    const isLong = /Ns$|Requests$|MemoryBytes$|BodyBytes$|BodyOffset$|At$/.test(name);
    const aligned = isLong && !/header(Slots|Workers)At|slotBodyAt/.test(name) ? 8 : 4;
    expect([name, offset % aligned]).toEqual([name, 0]);
  }
});

test("a library of another layout is refused", () => {
  const { symbols } = transport();
  for (const count of [0, LAYOUT.length - 1, LAYOUT.length + 1]) {
    const out = new Uint32Array(LAYOUT.length + 1);
    expect(symbols.phprun_transport_layout(out, count)).toBeLessThan(0);
    expect(out.every((word) => word === 0)).toBe(true);
  }
});

test("the ABI numbers in TypeScript are those of the headers", () => {
  const number = (text: string, name: string) =>
    Number(new RegExp(`\\b${name}(?: =)? (\\d+)`).exec(text)?.[1]);
  expect(number(read("transport.ts"), "TRANSPORT_ABI")).toBe(
    number(code("transport/transport.h"), "PHPRUN_TRANSPORT_ABI"),
  );
  expect(number(read("php.ts"), "PHP_ABI")).toBe(number(code("php/php.h"), "PHPRUN_PHP_ABI"));
  expect(transport().symbols.phprun_transport_abi()).toBe(
    number(code("transport/transport.h"), "PHPRUN_TRANSPORT_ABI"),
  );
});

/** `PREFIX_SOME_NAME = 3` and `#define PREFIX_SOME_NAME 3u`, as { someName: 3 }. */
function constants(text: string, prefix: string): Record<string, number> {
  const found = text.matchAll(new RegExp(`\\b${prefix}_([A-Z_]+)\\s*=?\\s*(\\d+)u?\\b`, "g"));
  return Object.fromEntries(
    [...found].map(([, name = "", value]) => [
      name.toLowerCase().replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      Number(value),
    ]),
  );
}

test("constants in TypeScript are those of the headers", () => {
  const header = code("transport/transport.h");
  const phases = header.slice(header.indexOf("enum phprun_phase"));
  expect(constants(phases.slice(0, phases.indexOf("}")), "PHPRUN")).toEqual(Phase);
  expect(constants(header, "PHPRUN_OUTCOME")).toEqual(Outcome);
  expect(constants(header, "PHPRUN_WORKER")).toEqual(WorkerState);
  expect(constants(code("php/php.h"), "PHPRUN_REQUEST")).toEqual(RequestOption);
  expect(constants(code("php/host.c"), "COMMAND")).toEqual(Command);
});

test("the fields of a request block are those of the header, in its order", () => {
  const header = code("php/php.h");
  const body = /enum phprun_field \{([\s\S]*?)\}/.exec(header)?.[1] ?? "";
  const names = [...body.matchAll(/FIELD_(\w+)/g)].map(([, name]) => name);
  expect(names).toEqual([...REQUEST_FIELDS, "COUNT"]);

  const table = [...code("php/variables.c").matchAll(/\[FIELD_(\w+)\] = "(\w+)"/g)].map(([, field, name]) => [
    field,
    name,
  ]);
  expect(table).toEqual(REQUEST_FIELDS.map((name) => [name, name]));
});

/** What a header exports, in the words of bun:ffi. */
function exportsOf(...files: string[]): Record<string, { args: string[]; returns: string }> {
  const declarations = files.flatMap((file) => [
    ...code(file).matchAll(/PHPRUN_API\s+([^;(]*?)(\w+)\(([^;]*?)\);/g),
  ]);
  return Object.fromEntries(
    declarations.map(([, result = "", name = "", parameters = ""]) => [
      name,
      {
        args: parameters.trim() === "void" ? [] : parameters.split(",").map((one) => ffiType(one)),
        returns: ffiType(result),
      },
    ]),
  );
}

function ffiType(declared: string): string {
  if (declared.includes("*")) return "ptr";
  const [type = ""] = /\b(u?int32_t|double|void)\b/.exec(declared) ?? [];
  return { uint32_t: "u32", int32_t: "i32", double: "f64", void: "void" }[type] ?? `not known: ${declared}`;
}

test.each([
  ["transport", transportSymbols, ["transport/transport.h", "transport/system.h"]],
  ["PHP", phpSymbols, ["php/php.h", "transport/system.h"]], // it contains the transport
] as const)("symbols.ts says of the %s library what its headers say", (_name, symbols, headers) => {
  const declared = exportsOf(...headers);
  for (const [name, { args, returns }] of Object.entries<FFIFunction>(symbols)) {
    expect({ name, args: [...(args ?? [])], returns: returns ?? "void" } as unknown).toEqual({
      name,
      ...declared[name],
    });
  }
});

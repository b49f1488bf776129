import { lstatSync, readFileSync } from "node:fs";
import type { StaticConfig } from "../config/config.ts";
import { compileGlob } from "../route/glob.ts";
import { lookUp } from "../route/look-up.ts";
import type { FileRoute, FileStat, FsPath } from "../route/route.ts";
import type { MadeCoding } from "../../worker/compress.ts";
import { ByteCache } from "./byte-cache.ts";
import { isCompressible } from "./compressible.ts";
import { Compressor } from "./compressor.ts";
import { evaluateConditions, rangeStillApplies } from "./conditions.ts";
import { mimeType } from "./mime-type.ts";
import { contentRange, layOutMultipart, type Multipart } from "./multipart.ts";
import { PreferredCodings } from "./preferred-codings.ts";
import { type ByteRange, parseRange } from "./ranges.ts";
import { buildRepresentation, type Bytes, isSameVersion, type Representation } from "./representation.ts";

/** Builds the answer for what cannot be served: 403, 404, 405, 412 and 416. */
export type Refuse = (status: number, headers: Record<string, string>) => Response;

export interface StaticFilesOptions {
  /** Error answers with a page; bare statuses when left out. */
  readonly refuse?: Refuse;
  /** Makes the compressed forms; one for the whole front when left out. */
  readonly compressor?: Compressor;
  /** Hears why a compressed form could not be made. The file is served as it is. */
  readonly complain?: (why: string) => void;
}

/** A file as it was last seen. */
interface Entry {
  readonly identity: Representation;
  /** Its precompressed siblings, or else what we have made of it ourselves. */
  readonly compressed: Representation[];
  /** What we may make of it; null when it has siblings, or is to be sent as it is. */
  readonly making: Making | null;
  siblingsSeenAtMs: number;
}

interface Making {
  readonly key: string;
  /** Not tried yet. */
  readonly left: Set<string>;
  /** Of the whole entry. */
  weight: number;
  wantedBefore: boolean;
}

const codings: Readonly<Record<string, string>> = { ".br": "br", ".zst": "zstd", ".gz": "gzip" };
/** Best first. */
const madeCodings: readonly MadeCoding[] = ["br", "gzip"];
/** Less than that fits one packet anyway; more takes long, and the result is too large to be kept. */
const compressFromBytes = 1024;
const compressUpToBytes = 8 * 1024 ** 2;
/** What saves less than a tenth is not worth its memory, nor the client's time. */
const worthwhile = 0.9;
const allow = "GET, HEAD, OPTIONS";
/** How long a new or changed sibling may go unnoticed; the file itself is compared on every request. */
const siblingRecheckMs = 1000;
/**
 * Time stamps move in ticks of some milliseconds: a file written twice within one looks unchanged. What was
 * modified this recently is served but not kept.
 */
const settledAfterMs = 100;
/** What the headers and objects of one entry weigh, roughly. */
const entryOverheadBytes = 2048;

/** Shared by the files of one configuration and of the next, so that there is one Worker at most. */
const sharedCompressor = new Compressor();
const preferredMade = new PreferredCodings(madeCodings);

/** Serves the files the router found. */
export class StaticFiles {
  readonly #config: StaticConfig;
  readonly #cache: ByteCache<Entry>;
  readonly #cacheControl: readonly { readonly regex: RegExp | null; readonly value: string }[];
  readonly #refuse: Refuse;
  readonly #preferredSiblings: PreferredCodings;
  readonly #compressor: Compressor;
  readonly #complain: (why: string) => void;

  constructor(config: StaticConfig, options: StaticFilesOptions = {}) {
    this.#config = config;
    this.#cache = new ByteCache(config.cacheBytes);
    this.#cacheControl = config.cacheControl.map(({ pattern, value }) => ({
      regex: compileGlob(pattern, "static.cache_control"),
      value,
    }));
    this.#refuse = options.refuse ?? ((status, headers) => new Response(null, { status, headers }));
    this.#preferredSiblings = new PreferredCodings(
      config.precompressed.flatMap((extension) => codings[extension] ?? []),
    );
    this.#compressor = options.compressor ?? sharedCompressor;
    this.#complain = options.complain ?? (() => undefined);
  }

  /** Never throws; `route` is fresh from the router, whose stat says whether the cached bytes still hold. */
  respond(route: FileRoute, method: string, headers: Headers): Response {
    if (method !== "GET" && method !== "HEAD") return this.#otherMethod(method);
    try {
      return this.#send(this.#entry(route), method, headers);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      const gone = code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR";
      return this.#refuse(gone ? 404 : code === "EACCES" || code === "EPERM" ? 403 : 500, {});
    }
  }

  #otherMethod(method: string): Response {
    if (method === "OPTIONS") return new Response(null, { status: 204, headers: { Allow: allow } });
    return this.#refuse(405, { Allow: allow });
  }

  #send(entry: Entry, method: string, headers: Headers): Response {
    // A Range is of the file itself: parts of a compressed form are of use to nobody who lost the beginning.
    const range = method === "GET" ? headers.get("range") : null;
    const chosen = range === null ? this.#choose(entry, headers) : entry.identity;
    switch (evaluateConditions(headers, chosen)) {
      case "not-modified":
        return new Response(null, chosen.notModified);
      case "failed":
        return this.#refuse(412, {});
      case "send":
        break;
    }
    if (method === "HEAD") return new Response(null, chosen.head);
    if (range !== null && rangeStillApplies(headers.get("if-range"), chosen, Date.now())) {
      const ranges = parseRange(range, chosen.stat.size);
      if (ranges !== null) return this.#sendRanges(chosen, ranges);
    }
    return sendWhole(chosen);
  }

  /** The form the client likes best of those there are. */
  #choose({ identity, compressed, making }: Entry, headers: Headers): Representation {
    if (making === null && compressed.length === 0) return identity;
    const accepted = headers.get("accept-encoding");
    if (accepted === null) return identity;
    const wanted = (making === null ? this.#preferredSiblings : preferredMade).of(accepted);
    const [best] = wanted;
    if (making !== null && best !== undefined && making.left.has(best))
      this.#make(making, best as MadeCoding);
    for (const coding of wanted) {
      for (const candidate of compressed) if (candidate.coding === coding) return candidate;
    }
    return identity;
  }

  /** Has a compressed form made for those who come later. */
  #make(making: Making, coding: MadeCoding): void {
    const { key, left } = making;
    const entry = this.#cache.peek(key);
    if (entry?.making !== making) return;
    // With room for all, all is compressed; else only what stays long enough to be wanted twice.
    if (this.#cache.crowded && !making.wantedBefore) {
      making.wantedBefore = true;
      return;
    }
    const { path, stat } = entry.identity;
    const { size, mtimeMs, ctimeMs, ino, dev } = stat;
    const queued = this.#compressor.add({
      task: {
        path,
        stat: { size, mtimeMs, ctimeMs, ino, dev },
        coding,
        maxBytes: Math.min(Math.floor(size * worthwhile), this.#config.cacheMaxFileBytes),
      },
      wanted: () => this.#cache.peek(key) === entry,
      done: (bytes) => {
        if (bytes !== null) this.#keep(entry, making, coding, bytes);
      },
      failed: (why) => this.#complain(`Cannot compress ${key}: ${why}; it is served as it is`),
    });
    if (queued) left.delete(coding);
  }

  /** Adds a compressed form to what is still in the cache. */
  #keep(entry: Entry, making: Making, coding: MadeCoding, bytes: Bytes): void {
    const { key } = making;
    const weight = making.weight + entryOverheadBytes + bytes.length;
    if (this.#cache.peek(key) !== entry || weight > this.#config.cacheBytes) return;
    const { path, type, stat } = entry.identity;
    const { mtimeMs, ctimeMs, ino, dev } = stat;
    entry.compressed.push(
      buildRepresentation({
        path,
        stat: { size: bytes.length, mtimeMs, ctimeMs, ino, dev },
        type,
        bytes,
        coding,
        cacheControl: this.#cacheControlFor(key),
        varies: true,
        etag: this.#config.etag,
      }),
    );
    making.weight = weight;
    this.#cache.set(key, entry, weight);
  }

  #sendRanges(file: Representation, ranges: readonly ByteRange[]): Response {
    const { size } = file.stat;
    const [first] = ranges;
    if (first === undefined) return this.#refuse(416, { "Content-Range": `bytes */${size}` });
    const headers = new Headers(file.whole.headers);
    headers.delete("Content-Length");
    if (ranges.length === 1) {
      headers.set("Content-Range", contentRange(first, size));
      return new Response(slice(file, first), { status: 206, headers });
    }
    const multipart = layOutMultipart(ranges, file.type, size);
    headers.set("Content-Type", multipart.contentType);
    headers.delete("Content-Disposition");
    return new Response(multipartBody(file, multipart), { status: 206, headers });
  }

  #entry(route: FileRoute): Entry {
    const cached = this.#cache.get(route.urlPath);
    return cached !== undefined && this.#isCurrent(cached, route) ? cached : this.#load(route);
  }

  #isCurrent(cached: Entry, route: FileRoute): boolean {
    if (!isSameVersion(cached.identity.stat, route.stat)) return false;
    if (!isStillThere(cached.identity) || !cached.compressed.every(isStillThere)) return false;
    if (this.#config.precompressed.length === 0) return true;
    const nowMs = performance.now();
    if (nowMs - cached.siblingsSeenAtMs < siblingRecheckMs) return true;
    cached.siblingsSeenAtMs = nowMs;
    return this.#siblingsUnchanged(route, cached);
  }

  #load(route: FileRoute): Entry {
    this.#cache.delete(route.urlPath);
    const type = mimeType(route.urlPath);
    const cacheControl = this.#cacheControlFor(route.urlPath);
    const siblings = this.#siblings(route);
    const own = this.#read(route.path, route.stat);
    const makes = siblings.length === 0 && this.#mayCompress(type, own.stat.size);
    const shared = { type, cacheControl, varies: makes || siblings.length > 0, etag: this.#config.etag };

    const identity = buildRepresentation({ ...shared, ...own, path: route.path, coding: null });
    let settled = own.settled;
    let weight = entryOverheadBytes + (own.bytes?.length ?? 0);
    const compressed: Representation[] = [];
    for (const sibling of siblings) {
      const read = attempt(() => this.#read(sibling.path, sibling.stat));
      if (read === undefined) continue;
      compressed.push(
        buildRepresentation({ ...shared, ...read, path: sibling.path, coding: sibling.coding }),
      );
      settled &&= read.settled;
      weight += entryOverheadBytes + (read.bytes?.length ?? 0);
    }
    const making = makes
      ? { key: route.urlPath, left: new Set(madeCodings), weight, wantedBefore: false }
      : null;
    const entry: Entry = { identity, compressed, making, siblingsSeenAtMs: performance.now() };
    if (settled) this.#cache.set(route.urlPath, entry, weight);
    return entry;
  }

  #mayCompress(type: string, size: number): boolean {
    const { compress, cacheBytes, cacheMaxFileBytes } = this.#config;
    if (!compress || cacheBytes === 0 || cacheMaxFileBytes === 0) return false;
    return size >= compressFromBytes && size <= compressUpToBytes && isCompressible(type);
  }

  /** The bytes of a small file with the stat that belongs to them. Throws when the file is gone. */
  #read(path: FsPath, seen: FileStat): { bytes: Bytes | null; stat: FileStat; settled: boolean } {
    const maxBytes = Math.min(this.#config.cacheMaxFileBytes, this.#config.cacheBytes);
    const bytes = seen.size <= maxBytes ? readFileSync(path) : null;
    const after = lookUp(path);
    if (after === undefined) throw Object.assign(new Error("the file is gone"), { code: "ENOENT" });
    if (after === "denied") throw Object.assign(new Error("the file cannot be read"), { code: "EACCES" });
    const settled =
      isSameVersion(seen, after) &&
      (bytes === null || bytes.length === after.size) &&
      Date.now() - Math.max(after.mtimeMs, after.ctimeMs) > settledAfterMs;
    if (bytes === null || bytes.length === after.size) return { bytes, stat: after, settled };
    // It is being written right now: what was read is sent, under a tag of its own.
    const { mtimeMs, ctimeMs, ino, dev } = after;
    return { bytes, stat: { size: bytes.length, mtimeMs, ctimeMs, ino, dev }, settled: false };
  }

  #siblings(route: FileRoute): { path: FsPath; stat: FileStat; coding: string }[] {
    const found: { path: FsPath; stat: FileStat; coding: string }[] = [];
    for (const extension of this.#config.precompressed) {
      const coding = codings[extension];
      if (coding === undefined) continue;
      const path = append(route.path, extension);
      const stat = siblingStat(path);
      // Whole seconds, because some tools copy the time stamp without its fraction.
      if (stat === undefined || Math.floor(stat.mtimeMs / 1000) < Math.floor(route.stat.mtimeMs / 1000))
        continue;
      found.push({ path, stat, coding });
    }
    return found;
  }

  #siblingsUnchanged(route: FileRoute, cached: Entry): boolean {
    const now = this.#siblings(route);
    const known = cached.making === null ? cached.compressed : [];
    return (
      now.length === known.length &&
      now.every((sibling, i) => {
        const before = known[i];
        return (
          before !== undefined && before.coding === sibling.coding && isSameVersion(before.stat, sibling.stat)
        );
      })
    );
  }

  #cacheControlFor(urlPath: string): string | null {
    for (const { regex, value } of this.#cacheControl) {
      if (regex === null || regex.test(urlPath)) return value;
    }
    return null;
  }
}

function sendWhole(file: Representation): Response {
  if (file.bytes !== null) return new Response(file.bytes, file.whole);
  // One byte more than there is: Bun would apply the Range header itself, also where we decided to ignore it.
  return new Response(onDisk(file.path).slice(0, file.stat.size + 1), file.whole);
}

function slice(file: Representation, { first, last }: ByteRange): Bytes | Blob {
  if (file.bytes !== null) return file.bytes.subarray(first, last + 1);
  return onDisk(file.path).slice(first, last + 1);
}

function multipartBody(file: Representation, { pieces }: Multipart): Bytes | ReadableStream {
  const { bytes } = file;
  if (bytes !== null) {
    return Buffer.concat(
      pieces.map((piece) => ("first" in piece ? bytes.subarray(piece.first, piece.last + 1) : piece)),
    );
  }
  return new Response(streamPieces(file, pieces)).body ?? new ReadableStream();
}

async function* streamPieces(file: Representation, pieces: Multipart["pieces"]): AsyncGenerator<Bytes> {
  for (const piece of pieces) {
    if (!("first" in piece)) {
      yield piece;
      continue;
    }
    let sent = 0;
    for await (const chunk of onDisk(file.path)
      .slice(piece.first, piece.last + 1)
      .stream()) {
      sent += chunk.length;
      yield chunk;
    }
    // Ending here would make a part look whole; an error cuts the connection.
    if (sent !== piece.last - piece.first + 1) throw new Error("the file shrank while it was sent");
  }
}

/** Bun opens a large file only after we have answered, so we look again as late as we can. */
function isStillThere(file: Representation): boolean {
  if (file.bytes !== null) return true;
  const now = lookUp(file.path);
  return now !== undefined && now !== "denied" && isSameVersion(file.stat, now);
}

function attempt<Result>(run: () => Result): Result | undefined {
  try {
    return run();
  } catch {
    return undefined;
  }
}

/** Regular files only: a link could lead out of the docroot, and the router has not judged it. */
function siblingStat(path: FsPath): FileStat | undefined {
  const stat = attempt(() => lstatSync(path, { throwIfNoEntry: false }));
  return stat?.isFile() ? stat : undefined;
}

function onDisk(path: FsPath): Bun.BunFile {
  return typeof path === "string" ? Bun.file(path) : Bun.file(path);
}

function append(path: FsPath, extension: string): FsPath {
  return typeof path === "string" ? path + extension : Buffer.concat([path, Buffer.from(extension)]);
}

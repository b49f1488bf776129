import type { Answer } from "./load/answer.ts";
import { type Ask, firstLine, form, FORM_TYPE } from "./load/ask.ts";
import type { Random } from "./random.ts";

/** How a request of test/soak/app ends; the path that asks for it. */
const paths = {
  page: { status: 200 },
  renew: { status: 200 },
  logout: { status: 200 },
  exit: { status: 200 },
  stream: { status: 200 },
  finish: { status: 200 },
  throw: { status: 500, sealed: false },
  fatal: { status: 500, sealed: false },
  // Its head may not be under way yet when it fails.
  cut: { status: 500, sealed: false },
  leave: { status: 200, sealed: false },
} as const;
export type Path = keyof typeof paths;

/** What is sent with it. */
export const bodies = ["none", "form", "json", "upload", "large"] as const;
type Body = (typeof bodies)[number];

/** Status 202, in place of 200: one of the plants, see test/soak/app/plants.php. */
const PLANT_HEADERS = 1 << 11;
const PLANT_HANDLERS = 1 << 6;
/** With a handler of exceptions the application would answer by itself; PHP makes a 500 of a 200 only. */
const without: Readonly<Partial<Record<Path, number>>> = { throw: PLANT_HANDLERS, cut: PLANT_HEADERS };
const TOKEN = /tk-\d+-\d+-z/g;
const SESSION = /^set-cookie: PHPSESSID=([^;]+);/gim;
const DELETED = "deleted";
const LARGE_TOKENS = 6000;
const LEAVE_AFTER_BYTES = 2000;

/** What all visitors of a run share. */
export interface Scene {
  readonly random: Random;
  /** Is the application to tell all that it sees? */
  readonly all: boolean;
  /** Hears of each answer that is right: which worker it is from. */
  readonly onWorker: (worker: string) => void;
  /** Whose each session is. */
  readonly owners: Map<string, number>;
  identities: number;
  /** What the first request found at its begin, and all others must find. */
  fresh: string | null;
}

/** What an answer says of its request. */
interface Own {
  readonly worker: string;
  readonly fresh?: unknown;
  readonly [key: string]: unknown;
}

/**
 * Somebody with a browser, who logs in, does this and that, logs out and is somebody else. Every place of a request
 * that can carry something carries a token that is this request's alone; but for that of the login, which is in the
 * session's id, none but this request's own may be in its answer.
 */
export class Visitor {
  readonly #scene: Scene;
  #identity = 0;
  #requests = 0;
  #login = "";
  #session: string | undefined;
  #visits: number | null = null;

  constructor(scene: Scene) {
    this.#scene = scene;
    this.forget();
  }

  get loggedIn(): boolean {
    return this.#session !== undefined;
  }

  /** Somebody else from now on, who knows nothing of a session. */
  forget(): void {
    this.#identity = ++this.#scene.identities;
    this.#requests = 0;
    this.#session = undefined;
    this.#visits = null;
    this.#login = "";
  }

  logIn(plants: number): Ask {
    const token = this.#token();
    this.#login = token;
    this.#visits = 0;
    return this.#ask("login", token, { body: "form", plants, status: 200, sealed: true });
  }

  ask(path: Path, body: Body, plants: number): Ask {
    const { status, sealed = true }: { status: number; sealed?: boolean } = paths[path];
    const allowed = plants & ~(without[path] ?? 0);
    if (this.#visits !== null) this.#visits++;
    return this.#ask(path, this.#token(), { body, plants: allowed, status, sealed });
  }

  #token(): string {
    return `tk-${this.#identity}-${++this.#requests}-z`;
  }

  #ask(
    path: Path | "login",
    token: string,
    how: { body: Body; plants: number; status: number; sealed: boolean },
  ): Ask {
    const { body, plants, sealed } = how;
    const all = this.#scene.all ? "&all=1" : "";
    const uri = `/${path}/${token}?t=${token}&plant=${plants}${all}&secret=${token}`;
    const { type, content, sent } = bodyOf(body, token);
    const method = body === "none" ? "GET" : "POST";
    const session = this.#session === undefined ? "" : `; PHPSESSID=${this.#session}`;
    const head = [
      `${method} ${uri} HTTP/1.1`,
      "Host: localhost",
      `X-Token: ${token}`,
      `User-Agent: ${token}`,
      `Referer: http://localhost/${token}`,
      `Cookie: secret=${token}${session}`,
      `Authorization: Basic ${btoa(`${token}:${token}`)}`,
      ...(body === "none" ? [] : [`Content-Type: ${type}`, `Content-Length: ${sent.length}`]),
    ];
    const expected: Record<string, unknown> = {
      method,
      get: { t: token, plant: String(plants), ...(this.#scene.all ? { all: "1" } : {}), secret: token },
      post: body === "form" ? { who: token, secret: token } : {},
      cookie: { secret: token, ...(this.#session === undefined ? {} : { PHPSESSID: this.#session }) },
      files: body === "upload" ? [[token, 0, content.length]] : [],
      auth: [token, token],
      agent: token,
      who: path === "logout" || this.#visits === null ? null : this.#login,
      visits: path === "logout" ? null : this.#visits,
    };
    const allowed = new Set([token, this.#login]);
    const status = (plants & PLANT_HEADERS) === 0 ? how.status : 202;
    return {
      kind: body === "none" ? path : `${path} with ${body}`,
      head: `${head.join("\r\n")}\r\n\r\n`,
      body: body === "none" ? null : sent,
      expected: {
        status,
        line: sealed ? firstLine(method, uri, token, content) : null,
        crc: null,
        check: (text) => this.#check(expected, text),
      },
      look: (answer) => foreignIn(answer, allowed) ?? this.#takeSession(answer),
      ...(path === "leave" ? { leaveAfter: LEAVE_AFTER_BYTES } : {}),
      ...(path === "cut" ? { cut: true } : {}),
    };
  }

  #check(expected: Record<string, unknown>, text: string): string | null {
    const found = JSON.parse(text) as Own;
    for (const [name, value] of Object.entries(expected)) {
      if (!Bun.deepEquals(found[name], value))
        return `${name} is ${JSON.stringify(found[name])}, not ${JSON.stringify(value)}`;
    }
    if (this.#scene.all) {
      const fresh = JSON.stringify(found.fresh);
      this.#scene.fresh ??= fresh;
      if (fresh !== this.#scene.fresh) return `it began with ${fresh}, not ${this.#scene.fresh}`;
    }
    this.#scene.onWorker(found.worker);
    return null;
  }

  #takeSession({ head }: Answer): string | null {
    for (const [, id = ""] of head.matchAll(SESSION)) {
      if (id === DELETED) continue;
      const owner = this.#scene.owners.get(id);
      if (owner !== undefined && owner !== this.#identity) return `it sets the session ${id} of ${owner}`;
      this.#scene.owners.set(id, this.#identity);
      this.#session = id;
    }
    return null;
  }
}

/** A token that is another's, or another request's, anywhere in what has come. */
function foreignIn({ head, body }: Answer, allowed: ReadonlySet<string>): string | null {
  for (const text of [head, body.toString("latin1")]) {
    for (const [token] of text.matchAll(TOKEN)) {
      if (allowed.has(token)) continue;
      const at = text.indexOf(token);
      return `${token} is in it: ${JSON.stringify(text.slice(Math.max(0, at - 120), at + 60))}`;
    }
  }
  return null;
}

function bodyOf(kind: Body, token: string): { type: string; content: Uint8Array; sent: Uint8Array } {
  const encode = (text: string) => Buffer.from(text);
  switch (kind) {
    case "none":
      return { type: "", content: encode(""), sent: encode("") };
    case "form": {
      const sent = encode(`who=${token}&secret=${token}`);
      return { type: "application/x-www-form-urlencoded", content: sent, sent };
    }
    case "json": {
      const sent = encode(JSON.stringify({ secret: token }));
      return { type: "application/json", content: sent, sent };
    }
    case "large": {
      const sent = encode(`${token} `.repeat(LARGE_TOKENS));
      return { type: "text/plain", content: sent, sent };
    }
    case "upload": {
      const content = encode(`${token} `.repeat(100));
      return { type: FORM_TYPE, content, sent: form(content, token) };
    }
    default:
      return kind satisfies never;
  }
}

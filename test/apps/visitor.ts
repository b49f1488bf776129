/** Remembers cookies, follows no redirect. */
export class Visitor {
  readonly #origin: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #cookies = new Map<string, string>();

  constructor(origin: string, headers: Readonly<Record<string, string>> = {}) {
    this.#origin = origin;
    this.#headers = headers;
  }

  /** As the `Cookie` header has it; empty before there is one. */
  get cookie(): string {
    return [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  }

  async get(path: string): Promise<Response> {
    return await this.#fetch(path);
  }

  async post(path: string, body: FormData | URLSearchParams): Promise<Response> {
    return await this.#fetch(path, { method: "POST", body });
  }

  async #fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const { cookie } = this;
    const response = await fetch(new URL(path, this.#origin), {
      ...init,
      redirect: "manual",
      headers: { ...this.#headers, ...(cookie === "" ? {} : { cookie }) },
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) this.#cookies.set(name, value);
    }
    return response;
  }
}

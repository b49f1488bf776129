type Values = Readonly<Record<string, unknown>>;

/** What fixtures/contract/report.php answers. */
export interface Report {
  readonly get: Values;
  readonly post: Values;
  readonly files: Values;
  readonly cookie: Values;
  readonly request: Values;
  readonly server: Readonly<Record<string, string>>;
  readonly env: Values;
  readonly headers: Readonly<Record<string, string>>;
  readonly input: string;
  readonly sapi: string;
}

export async function report(url: string, init?: RequestInit): Promise<Report> {
  const answer = await fetch(url, init);
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.status} ${text}`);
  return JSON.parse(text) as Report;
}

/** One thing to ask for, again and again. */
export interface Workload {
  readonly name: string;
  readonly title: string;
  readonly connections: number;
  /** Of wrk. One is enough, and leaves more of the machine to the server, unless it must read gigabytes a second. */
  readonly threads?: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent as POST when there is one. */
  readonly body?: string;
  /**
   * What a right answer begins with. In `template` it is all of it: `#` stands for a number, `@` for the mode of who
   * answers, and so for the one thing in which answers may differ.
   */
  readonly startsWith: string;
  readonly template?: boolean;
  readonly bodyBytes?: number;
  /** So many sessions take turns, one each request: more than there are connections, so that none is asked twice at once. */
  readonly sessions?: number;
  /** Compared with php-fpm, or with nginx alone. */
  readonly against: "php-fpm" | "nginx";
  /** The least ratio of requests per second that is aimed at. */
  readonly goal: { readonly best: number; readonly deployed?: number; readonly classic?: number };
}

/** The same for every server, so that $_SERVER is the same too. */
const host = { Host: "bench.example" };

const browser = {
  ...host,
  "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  Accept: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
  "Accept-Encoding": "gzip, deflate, br, zstd",
  Referer: "https://bench.example/products/shoes?page=2&sort=price",
  DNT: "1",
  "Sec-GPC": "1",
  Cookie:
    "PHPSESSID=2c1hq0dk3hs1gnsr5nq1u4bb7e; consent=necessary%2Cstatistics; _ga=GA1.1.1923742.17283; theme=dark; cart=9f86d081884c7d65",
  "Upgrade-Insecure-Requests": "1",
  "Sec-Fetch-Dest": "document",
  "Sec-Fetch-Mode": "navigate",
  "Sec-Fetch-Site": "same-origin",
};

export const workloads: readonly Workload[] = [
  {
    name: "hello",
    title: "hello world",
    connections: 32,
    path: "/hello.php",
    headers: host,
    startsWith: "Hello, world!",
    bodyBytes: 13,
    against: "php-fpm",
    goal: { best: 1.7, deployed: 2.5 },
  },
  {
    name: "browser",
    title: "12 headers, $_SERVER read",
    connections: 32,
    path: "/browser.php?page=2&sort=price",
    headers: browser,
    startsWith: "13 headers 5 cookies GET /browser.php?page=2&sort=price page=2&sort=price ",
    against: "php-fpm",
    goal: { best: 1.5 },
  },
  {
    name: "post",
    title: "POST form, 1 KB",
    connections: 32,
    path: "/post.php",
    headers: { ...host, "Content-Type": "application/x-www-form-urlencoded" },
    body: form(1024),
    startsWith: "12 fields ",
    against: "php-fpm",
    goal: { best: 1.4 },
  },
  {
    name: "100kb",
    title: "100 KB response",
    connections: 32,
    path: "/100kb.php",
    headers: host,
    startsWith: "a".repeat(1023),
    bodyBytes: 102_400,
    against: "php-fpm",
    goal: { best: 1.2 },
  },
  {
    name: "includes",
    title: "page of 300 files",
    connections: 32,
    path: "/includes.php",
    headers: host,
    startsWith: "301 files 89700",
    bodyBytes: 15,
    against: "php-fpm",
    goal: { best: 1.1 },
  },
  {
    name: "static-3kb",
    title: "static file, 3 KB",
    connections: 32,
    path: "/3kb.css",
    headers: host,
    startsWith: "body {",
    bodyBytes: 3000,
    against: "nginx",
    goal: { best: 1.0 },
  },
  {
    name: "static-10mb",
    title: "static file, 10 MB",
    connections: 8,
    threads: 2,
    path: "/10mb.bin",
    headers: host,
    startsWith: "",
    bodyBytes: 10_000_000,
    against: "nginx",
    goal: { best: 0.8 },
  },
];

/** What worker mode is measured with: beside php-fpm, and beside classic mode. */
export const workerModeWorkloads: readonly Workload[] = [
  {
    ...workloads[0]!,
    name: "worker-hello",
    goal: { best: 3, classic: 1.6 },
  },
  {
    name: "worker-laravel",
    title: "Laravel, JSON with a session",
    connections: 16,
    path: "/json",
    headers: host,
    startsWith: '{"app":"laravel","mode":"@","visits":#}',
    template: true,
    sessions: 256,
    against: "php-fpm",
    goal: { best: 3.5 },
  },
  {
    name: "worker-symfony",
    title: "Symfony, JSON with a session",
    connections: 16,
    path: "/json",
    headers: host,
    startsWith: '{"app":"symfony","mode":"@","visits":#}',
    template: true,
    sessions: 256,
    against: "php-fpm",
    goal: { best: 3 },
  },
];

/** Connections that the warm-up, the sampler and the load may have open at once. */
export const mostConnections = Math.max(...workloads.map(({ connections }) => connections));

/** A form of exactly `bytes` bytes, with escapes in it. */
function form(bytes: number): string {
  const fields = Array.from(
    { length: 11 },
    (_, i) => `field${i}=${encodeURIComponent(`value ${i}, "ä" & more`)}`,
  );
  const start = `${fields.join("&")}&comment=`;
  return start + "x".repeat(bytes - start.length);
}

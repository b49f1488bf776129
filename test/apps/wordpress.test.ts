/**
 * A real application: Debian's WordPress on a MariaDB of its own, installed and used through phprun.
 *
 * Everything lives in one temporary folder (a copy of WordPress, the database, its socket) and goes with it.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Database, whyNoDatabase } from "../database.ts";
import { type Server, start, targets, test } from "../harness.ts";
import { Visitor } from "./visitor.ts";

const WORDPRESS = "/usr/share/wordpress";
const missing = whatIsMissing();

function whatIsMissing(): string | undefined {
  if (!existsSync(join(WORDPRESS, "wp-settings.php"))) return `no ${WORDPRESS}`;
  return whyNoDatabase();
}

const PASSWORD = "corr3ct horse Battery";
const PIXEL = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
  "base64",
);

// One of the two ways to run phprun is enough here: that they do the same is the contract's business.
const target = targets.at(-1) ?? "source";

describe(missing === undefined ? "WordPress" : `WordPress (skipped: ${missing})`, () => {
  let database: Database | undefined;
  let server: Server | undefined;

  beforeAll(async () => {
    if (missing !== undefined) return;
    database = await Database.start("wordpress");
    const docroot = copyOfWordPress(database);
    server = await start({
      target,
      docroot,
      // WordPress asks itself over HTTP while it is being installed: one worker would wait for itself.
      config: { pools: [{ name: "default", worker_count: 2 }] },
    });
    await install(server);
  }, 30_000);

  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await database?.stop();
  }, 15_000);

  const check = (name: string, body: (browser: Browser) => Promise<void>) =>
    test.skipIf(missing !== undefined)(name, async () => await body(new Browser(theServer().url)));
  const theServer = (): Server => {
    if (server === undefined) throw new Error("WordPress was not set up");
    return server;
  };

  check("the front page lists the first post, its assets are served", async (browser) => {
    const front = await browser.get("/");
    expect(front.status).toBe(200);
    expect(await front.text()).toContain("Hello world!");
    const script = await browser.get("/wp-includes/js/jquery/jquery.min.js");
    expect(script.headers.get("content-type")).toStartWith("text/javascript");
    expect(await script.text()).toContain("jQuery");
  });

  check("a permalink reaches the post, an unknown one WordPress's own 404", async (browser) => {
    const [post] = (await (await browser.get("/wp-json/wp/v2/posts")).json()) as [{ link: string }];
    expect(new URL(post.link).pathname).toMatch(/^\/\d{4}\/\d\d\/\d\d\/hello-world\/$/);
    const page = await browser.get(post.link);
    expect(page.status).toBe(200);
    expect(await page.text()).toContain("Hello world!");
    const unknown = await browser.get("/no/such/page/");
    expect(unknown.status).toBe(404);
    expect(await unknown.text()).toContain("the tiny theme");
  });

  check("wp-json describes the site", async (browser) => {
    const index = await browser.get("/wp-json/");
    expect(index.headers.get("content-type")).toStartWith("application/json");
    const { name } = (await index.json()) as { name: string };
    expect(name).toBe("A blog on phprun");
  });

  check("logging in opens the dashboard, with a wrong password it does not", async (browser) => {
    expect((await browser.get("/wp-admin/")).headers.get("location")).toContain("/wp-login.php");
    expect(await (await browser.logIn("wrong")).text()).toContain("login_error");
    expect((await browser.logIn(PASSWORD)).headers.get("location")).toEndWith("/wp-admin/");
    const dashboard = await browser.get("/wp-admin/");
    expect(dashboard.status).toBe(200);
    expect(await dashboard.text()).toContain("<h1>Dashboard</h1>");
  });

  check("an uploaded image is listed and served", async (browser) => {
    await browser.logIn(PASSWORD);
    const form = await (await browser.get("/wp-admin/media-new.php?browser-uploader")).text();
    const body = new FormData();
    body.set("_wpnonce", /name="_wpnonce" value="(\w+)"/.exec(form)?.[1] ?? "");
    body.set("async-upload", new File([PIXEL], "pixel.png", { type: "image/png" }));
    body.set("html-upload", "Upload");
    const sent = await browser.post("/wp-admin/media-new.php", body);
    expect(sent.headers.get("location")).toContain("upload.php");

    type Media = { source_url: string; mime_type: string };
    const [image] = (await (await browser.get("/wp-json/wp/v2/media")).json()) as [Media];
    expect(image.mime_type).toBe("image/png");
    const served = await browser.get(image.source_url);
    expect(served.headers.get("content-type")).toBe("image/png");
    expect(Buffer.from(await served.arrayBuffer()).equals(PIXEL)).toBe(true);
  });

  check("wp-cron.php runs", async (browser) => {
    expect((await browser.get("/wp-cron.php")).status).toBe(200);
    expect(theServer().log.text).not.toContain("Fatal error");
  });
});

class Browser extends Visitor {
  async logIn(password: string): Promise<Response> {
    // The form's page sets the cookie that proves that cookies work.
    await (await this.get("/wp-login.php")).text();
    const answer = new URLSearchParams({ log: "admin", pwd: password, testcookie: "1" });
    return await this.post("/wp-login.php", answer);
  }
}

async function install(server: Server): Promise<void> {
  const answers = new URLSearchParams({
    weblog_title: "A blog on phprun",
    user_name: "admin",
    admin_password: PASSWORD,
    admin_password2: PASSWORD,
    admin_email: "admin@example.com",
    Submit: "Install WordPress",
    language: "",
  });
  const done = await new Browser(server.url).post("/wp-admin/install.php?step=2", answers);
  const page = await done.text();
  if (!page.includes("<h1>Success!</h1>")) {
    throw new Error(`WordPress was not installed: ${done.status}\n${page}\n${server.log.tail()}`);
  }
}

/** WordPress with links followed: Debian's own reaches into /usr/share/javascript and /etc. */
function copyOfWordPress(database: Database): string {
  const docroot = join(database.folder, "wordpress");
  cpSync(WORDPRESS, docroot, {
    recursive: true,
    dereference: true,
    filter: (source) => source !== join(WORDPRESS, "wp-content"),
  });
  const theme = join(docroot, "wp-content/themes/tiny");
  mkdirSync(theme, { recursive: true });
  writeFileSync(join(theme, "style.css"), "/*\nTheme Name: Tiny\n*/\n");
  writeFileSync(
    join(theme, "index.php"),
    `<!doctype html><title><?php bloginfo('name') ?></title><p>the tiny theme</p>
<?php while (have_posts()) { the_post(); the_title('<h1>', '</h1>'); the_content(); }`,
  );
  writeFileSync(
    join(docroot, "wp-config.php"),
    `<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'root');
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:${database.socket}');
define('DB_CHARSET', 'utf8mb4');
define('WP_DEFAULT_THEME', 'tiny');
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('WP_ACCESSIBLE_HOSTS', '127.0.0.1');
define('DISABLE_WP_CRON', true);
$table_prefix = 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
`,
  );
  return docroot;
}

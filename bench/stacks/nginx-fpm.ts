import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { processTree } from "../processes.ts";
import { freePort, type Scratch } from "../scratch.ts";
import { environmentOf, plainSite, type Site } from "../sites.ts";
import { type Stack, type StackKey, untilAnswer } from "./stack.ts";

export interface NginxFpmOptions {
  readonly key: StackKey & `fpm-${string}`;
  readonly children: number;
  /** FastCGI connections that each nginx worker keeps open; 0 is plain FastCGI, one connection per request. */
  readonly kept: number;
  /** Program, php.ini and folder of further ini files: those of phprun's PHP. */
  readonly php: { readonly program: string; readonly ini: string; readonly scanned: string };
  readonly ini?: Readonly<Record<string, string>>;
  /** @default the docroot of scripts */
  readonly site?: Site;
}

/** `worker_processes auto`, bounded so that "as many children as kept connections" stays possible on big machines. */
export const nginxWorkers = Math.min(8, availableParallelism());

/** nginx and php-fpm as a good administrator sets them up on one machine. */
export async function startNginxFpm(scratch: Scratch, options: NginxFpmOptions): Promise<Stack> {
  const name = scratch.fresh(options.key);
  const folder = scratch.path(name);
  mkdirSync(folder);
  const port = freePort();
  const { site = plainSite(scratch), kept } = options;
  writeFileSync(
    `${folder}/fpm.conf`,
    fpmConfig(folder, options.children, environmentOf(scratch, site, name)),
  );
  writeFileSync(`${folder}/nginx.conf`, nginxConfig(folder, site, port, kept, options.key === "fpm-best"));

  const { program, ini, scanned } = options.php;
  const root = process.getuid?.() === 0 ? ["-R"] : [];
  const overrides = Object.entries(options.ini ?? {}).flatMap(([key, value]) => ["-d", `${key}=${value}`]);
  const fpm = scratch.start(
    `${name}.fpm`,
    [program, "-F", ...root, "-c", ini, ...overrides, "-y", `${folder}/fpm.conf`],
    { PHP_INI_SCAN_DIR: scanned },
  );
  const nginx = scratch.start(`${name}.nginx`, [
    "nginx",
    "-p",
    folder,
    "-e",
    `${folder}/nginx.log`,
    "-c",
    `${folder}/nginx.conf`,
  ]);
  try {
    await untilAnswer(port, site.helloPath, () => fpm.exitCode === null && nginx.exitCode === null);
  } catch (cause) {
    const logs = scratch.log(`${name}.fpm`) + scratch.log(`${name}.nginx`);
    throw new Error(`Cannot start nginx + php-fpm. Their logs:\n${logs}`, { cause });
  }
  const kind = options.key === "fpm-best" ? "at its best" : "as deployed";
  return {
    key: options.key,
    title: `nginx + php-fpm ${kind} (${options.children} children)`,
    port,
    mode: "classic",
    roots: [nginx.pid, fpm.pid],
    workers: () => processTree([fpm.pid]).slice(1),
    stop: async () => {
      await Promise.all([scratch.end(nginx), scratch.end(fpm)]);
    },
  };
}

function fpmConfig(folder: string, children: number, env: Readonly<Record<string, string>>): string {
  const user = process.getuid?.() === 0 ? "user = root\ngroup = root\n" : "";
  return `[global]
error_log = ${folder}/fpm.log
log_level = warning
[www]
${user}listen = ${folder}/fpm.sock
listen.backlog = 4096
pm = static
pm.max_children = ${children}
${Object.entries(env)
  .map(([name, value]) => `env[${name}] = ${value}\n`)
  .join("")}`;
}

function nginxConfig(folder: string, site: Site, port: number, kept: number, lean: boolean): string {
  const user = process.getuid?.() === 0 ? "user root root;\n" : "";
  // An application's front controller: as its documentation has it, and without a look at the disk.
  const application = lean ? "rewrite ^ /index.php last;" : "try_files $uri $uri/ /index.php?$query_string;";
  // As deployed: what Debian's snippets/fastcgi-php.conf says. At its best: only what the scripts here need.
  const handler = lean
    ? ""
    : `fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
      try_files $fastcgi_script_name =404;
      set $path_info $fastcgi_path_info;
      fastcgi_param PATH_INFO $path_info;
      fastcgi_index index.php;`;
  return `${user}worker_processes ${nginxWorkers};
pid ${folder}/nginx.pid;
error_log ${folder}/nginx.log error;
daemon off;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
  include /etc/nginx/mime.types;
  access_log off;
  sendfile on;
  sendfile_max_chunk 2m;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 65s;
  keepalive_requests 1000000;
  open_file_cache max=10000 inactive=60s;
  open_file_cache_valid 30s;
  open_file_cache_errors on;
  client_max_body_size 2g;
  client_body_buffer_size 64k;
  fastcgi_buffers 32 8k;
  fastcgi_max_temp_file_size 0;
  client_body_temp_path ${folder}/body;
  fastcgi_temp_path ${folder}/fastcgi;
  proxy_temp_path ${folder}/proxy;
  scgi_temp_path ${folder}/scgi;
  uwsgi_temp_path ${folder}/uwsgi;
  upstream php {
    server unix:${folder}/fpm.sock;
    ${kept > 0 ? `keepalive ${kept}; keepalive_requests 1000000;` : ""}
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    root ${site.docroot};
    index index.php index.html;
    ${site.frontController ? `location / { ${application} }` : ""}
    location ~ \\.php(/|$) {
      ${handler}
      include /etc/nginx/fastcgi.conf;
      fastcgi_pass php;
      ${kept > 0 ? "fastcgi_keep_conn on;" : ""}
    }
  }
}
`;
}

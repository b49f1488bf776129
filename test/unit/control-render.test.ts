import { expect, test } from "bun:test";
import { stripVTControlCharacters } from "node:util";
import { renderStatus } from "../../src/control/render-status.ts";
import { wrap } from "../../src/control/table.ts";
import { shortSize, shortTime } from "../../src/control/units.ts";
import { busyStatus, pool, request, serverStatus, worker } from "./control-helper.ts";

const rendered = (columns: number, color = false) => renderStatus(busyStatus(), { columns, color });

test("a busy server on 80 columns", () => {
  expect(`\n${rendered(80)}`).toBe(`
phprun 9.9.9  reloading, not ready: pool heavy has failed: 5 workers in a row h…
  process   pid 4710, up 3h12m, front 38.2 MiB
  config    /srv/app/phprun.yaml
  docroot   /srv/app/public
  listens   http://127.0.0.1:8080 unix:/run/app.sock
  reloads   3 done, 1 refused; last 2m00s ago was refused: the health path
            answered 500 in place of 200 to 399: syntax error in
            /srv/app/public/a.php

POOL  STATE   GEN BUSY MIN-MAX  QUEUE    SERVED REFUSED RESTARTS
fast  serving   3  3/4     2-8 3/1000 1,234,567      12 16
  queue     longest wait 420ms, most waiting 17
  refused   queue_timeout 10, queue_full 2
  requests  slow 5, timed_out 2, lost 1
  restarts  memory 12, max_requests 3, crash 1
  draining  generation 2: 1 worker, 1 in flight, 3m00s old, host 30 MiB
heavy failed    1  0/0       1 0/1000     1,234       0 0
  error     5 workers in a row have died at start

POOL NO GEN  PID STATE     REQUESTS  MEMORY  TIME REQUEST
fast  0   2 4712 finishing    1,234  18 MiB 1m32s GET /old.php
fast  0   3 5001 busy            12  18 MiB  1.2s GET /x?\\x1b]0;owned\\x07\\x1b[2…
fast  1   3 5002 busy         1,234 300 MiB  80ms POST /long/abcdefghijabcdefgh…
fast  2   3 5003 starting         0  18 MiB     - -
`);
});

test("a busy server on 140 columns", () => {
  expect(`\n${rendered(140)}`).toBe(`
phprun 9.9.9  reloading, not ready: pool heavy has failed: 5 workers in a row have died at start
  process   pid 4710, up 3h12m, front 38.2 MiB
  config    /srv/app/phprun.yaml
  docroot   /srv/app/public
  listens   http://127.0.0.1:8080 unix:/run/app.sock
  reloads   3 done, 1 refused; last 2m00s ago was refused: the health path answered 500 in place of 200 to 399: syntax error in
            /srv/app/public/a.php

POOL   STATE    GEN  BUSY  MIN-MAX   QUEUE     SERVED  REFUSED  RESTARTS
fast   serving    3   3/4      2-8  3/1000  1,234,567       12  16
  queue     longest wait 420ms, most waiting 17
  refused   queue_timeout 10, queue_full 2
  requests  slow 5, timed_out 2, lost 1
  restarts  memory 12, max_requests 3, crash 1
  draining  generation 2: 1 worker, 1 in flight, 3m00s old, host 30 MiB
heavy  failed     1   0/0        1  0/1000      1,234        0  0
  error     5 workers in a row have died at start

POOL  NO  GEN   PID  STATE      REQUESTS    AGE   MEMORY  RESIDENT  PHP PEAK   TIME  REQUEST
fast   0    2  4712  finishing     1,234  1h02m   18 MiB    52 MiB   2.5 MiB  1m32s  GET /old.php
fast   0    3  5001  busy             12  1h02m   18 MiB    52 MiB   2.5 MiB   1.2s  GET /x?\\x1b]0;owned\\x07\\x1b[2J\\r\\n\\u202e\\xe9\\u2028\\u{1…
fast   1    3  5002  busy          1,234  1h02m  300 MiB     2 GiB     2 MiB   80ms  POST /long/abcdefghijabcdefghijabcdefghijabcdefghijabc…
fast   2    3  5003  starting          0   12ms   18 MiB    52 MiB   2.5 MiB      -  -
`);
});

test("an idle server", () => {
  expect(`\n${renderStatus(serverStatus(), { columns: 80, color: false })}`).toBe(`
phprun 9.9.9  serving, ready
  process   pid 4710, up 3h12m, front 38.2 MiB
  config    /srv/app/phprun.yaml
  docroot   /srv/app/public
  listens   http://127.0.0.1:8080
  reloads   0 done, 0 refused

POOL    STATE   GEN BUSY MIN-MAX  QUEUE SERVED REFUSED RESTARTS
default serving   1  0/1       1 0/1000  1,234       0 0

POOL    NO GEN  PID STATE REQUESTS MEMORY TIME REQUEST
default  0   1 4712 idle     1,234 18 MiB    - -
`);
});

test("no line is wider than the terminal, and what visitors send never reaches it as it is", () => {
  for (let columns = 80; columns <= 200; columns += 7) {
    for (const line of rendered(columns).split("\n")) {
      expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns);
      expect(line).not.toMatch(/[\x00-\x1f\x7f-\x9f\u202e\u2028]/);
    }
  }
});

test("without a terminal nothing is cut", () => {
  expect(rendered(Number.POSITIVE_INFINITY)).toContain(`POST /long/${"abcdefghij".repeat(20)}\n`);
});

test("colours change nothing but the colour", () => {
  expect(rendered(80, true)).toContain("\x1b[31m");
  expect(stripVTControlCharacters(rendered(80, true))).toBe(rendered(80));
});

test("names and messages cannot break out of their line either", () => {
  const status = serverStatus({
    config: "/srv/\x1b[2Jx\n.yaml",
    pools: [pool({ name: "a\tb".repeat(20), state: "failed", lastError: "one\ntwo", workers: [] })],
  });
  const text = renderStatus(status, { columns: 80, color: false });
  expect(text).toContain("/srv/\\x1b[2Jx\\n.yaml");
  expect(text).toContain("one\\ntwo");
  expect(text).toContain("\na\\tba\\tba\\tba\\t… failed");
  expect(text).toContain("\nno workers\n");
});

test("a pool of threads tells of its host, and of a thread what can be known", () => {
  const memory = { phpPeakBytes: 2 ** 21, ownBytes: 2 ** 22, residentBytes: null, proportionalBytes: null };
  const workers = [
    worker({ memory }),
    worker({ number: 1, pid: 4713, state: "lost", memory, request: request("/stuck.php") }),
  ];
  const restarts = { ...pool().restarts, lost: 1, renew: 2 };
  const status = serverStatus({ pools: [pool({ isolation: "thread", workers, restarts })] });
  const text = renderStatus(status, { columns: 120, color: false });
  expect(text.slice(text.indexOf("POOL"))).toBe(`\
POOL     STATE    GEN  BUSY  MIN-MAX   QUEUE  SERVED  REFUSED  RESTARTS
default  serving    1   1/2        1  0/1000   1,234        0  3
  restarts  renew 2, lost 1
  threads   of host 4711, which holds 30 MiB

POOL     NO  GEN   PID  STATE  REQUESTS    AGE  MEMORY  RESIDENT  PHP PEAK  TIME  REQUEST
default   0    1  4712  idle      1,234  1h02m   4 MiB         -     2 MiB     -  -
default   1    1  4713  lost      1,234  1h02m   4 MiB         -     2 MiB  1.2s  GET /stuck.php
`);
});

test("a worker over its memory limit stands out", () => {
  const fat = worker({
    memory: { phpPeakBytes: 0, ownBytes: 2 ** 28, residentBytes: 0, proportionalBytes: null },
  });
  const status = serverStatus({ pools: [pool({ workers: [fat, worker({ request: request("/") })] })] });
  expect(renderStatus(status, { columns: 80, color: true })).toContain("\x1b[31m256 MiB\x1b[0m");
});

test.each([
  [0, "0ms"],
  [999.4, "999ms"],
  [1999, "1.9s"],
  [59_999, "59s"],
  [125_000, "2m05s"],
  [11_520_000, "3h12m"],
  [356_400_000, "4d3h"],
])("%d ms are %s", (ms, text) => expect(shortTime(ms)).toBe(text));

test.each([
  [0, "0 KiB"],
  [524_288, "512 KiB"],
  [40_055_603, "38.2 MiB"],
  [314_572_800, "300 MiB"],
  [1_503_238_553, "1.4 GiB"],
])("%d bytes are %s", (bytes, text) => expect(shortSize(bytes)).toBe(text));

test("a word that is wider than the line is cut", () => {
  expect(wrap("one twothreefour five", 8)).toEqual(["one", "twothre…", "five"]);
});

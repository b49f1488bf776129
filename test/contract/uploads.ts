import { describe, expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { curl, eventually, raw } from "../harness.ts";
import { get, requestBytes } from "./ask.ts";
import { test } from "./contract-test.ts";
import { type Subject, workerScript } from "./contract.ts";

interface Uploaded {
  readonly field: string;
  readonly name: string;
  readonly error: number;
  readonly size: number;
  readonly md5: string | null;
  readonly uploaded: boolean;
  readonly path: string;
  readonly moved: boolean;
}

interface Answer {
  readonly post: Record<string, number>;
  readonly files: readonly Uploaded[];
  readonly notUploaded: boolean;
  readonly length: string;
}

const md5 = (bytes: string | Uint8Array) => new Bun.CryptoHasher("md5").update(bytes).digest("hex");

export function uploads(subject: () => Subject): void {
  const post = async (url: string, parts: Record<string, string | File | readonly File[]>, query = "") => {
    const form = new FormData();
    for (const [name, value] of Object.entries(parts)) {
      for (const item of Array.isArray(value) ? (value as File[]) : [value as string | File])
        form.append(name, item);
    }
    const answer = await fetch(`${url}/upload.php${query}`, { method: "POST", body: form });
    return (await answer.json()) as Answer;
  };
  const file = (size: number, name: string) => new File(["f".repeat(size)], name);

  describe("uploads", () => {
    test("a file arrives whole, is an uploaded one, and can be moved", async () => {
      const { server, url } = subject();
      const content = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7) % 256));
      const got = await post(url, { field: "text", file: new File([content], "a.bin") }, "?move=1");
      expect(got.post).toEqual({ field: 4 });
      expect(got.files).toMatchObject([
        { name: "a.bin", error: 0, size: 100_000, md5: md5(content), uploaded: true },
      ]);
      expect(got.files[0]?.moved).toBe(true);
      expect(md5(readFileSync(join(server.folder, "records/moved")))).toBe(md5(content));
      expect(got.notUploaded).toBe(false);
    });

    test("temporary files are gone after the request", async () => {
      const got = await post(subject().url, { "files[]": [file(10, "1"), file(70_000, "2")] });
      expect(got.files).toHaveLength(2);
      for (const { path } of got.files) {
        expect(path).not.toBe("");
        await eventually("the file is gone", () => !existsSync(path) || undefined);
      }
    });

    test("many and large files arrive together", async () => {
      const sizes = Array.from({ length: 20 }, (_, i) => i * i * 5000);
      const got = await post(subject().url, { "files[]": sizes.map((size, i) => file(size, `${i}.txt`)) });
      expect(got.files.map(({ size }) => size)).toEqual(sizes);
      for (const [i, size] of sizes.entries()) expect(got.files[i]?.md5).toBe(md5("f".repeat(size)));
    });

    test("an upload by curl arrives as one by fetch", async () => {
      const { server, url } = subject();
      const path = server.write("upload.bin", "content");
      const answer = await curl(
        "-F",
        `f=@${path};filename=x.bin;type=image/png`,
        "-F",
        "a=b",
        `${url}/upload.php`,
      );
      expect(JSON.parse(answer.text)).toMatchObject({ post: { a: 1 }, files: [{ name: "x.bin", size: 7 }] });
    });

    test("a file name cannot lead elsewhere", async () => {
      const got = await post(subject().url, { file: file(3, "../../etc/passwd") });
      expect(got.files[0]?.name).toBe("passwd");
    });

    test("upload_tmp_dir and open_basedir hold for uploads", async () => {
      const ini = {
        upload_tmp_dir: "/dev/shm",
        open_basedir: `${subject().server.docroot}:${workerScript}:/dev/shm`,
      };
      await using server = await subject().start({ config: { php: { ini } } });
      for (let i = 0; i < 3; i++) {
        const got = await post(server.url, { file: file(100, "a") });
        expect(got.files).toMatchObject([{ error: 0, size: 100, uploaded: true, md5: md5("f".repeat(100)) }]);
        expect(got.files[0]?.path).toStartWith("/dev/shm/php");
      }
    });

    test("an empty file field is UPLOAD_ERR_NO_FILE", async () => {
      const body = multipart([`name="f"; filename=""`, ""]);
      const got = await postRaw(subject().url, body);
      expect(got.files).toMatchObject([{ error: 4, size: 0, uploaded: false }]);
    });
  });

  describe("upload limits", () => {
    test("upload_max_filesize and MAX_FILE_SIZE refuse a file, not the request", async () => {
      const { url } = subject().strict;
      const got = await post(url, { a: "1", big: file(60_000, "big"), small: file(100, "small") });
      expect(got.files.map(({ field, error }) => [field, error])).toEqual([
        ["big", 1],
        ["small", 0],
      ]);
      expect(got.post).toEqual({ a: 1 });
      const limited = await post(url, { MAX_FILE_SIZE: "50", small: file(100, "small") });
      expect(limited.files.map(({ error }) => error)).toEqual([2]);
    });

    test("files past max_file_uploads are left out, and the log says so", async () => {
      const { strict } = subject();
      const from = strict.log.mark();
      const got = await post(strict.url, { "f[]": [1, 2, 3, 4, 5].map((i) => file(i, `${i}`)), z: "1" });
      expect(got.files).toHaveLength(3);
      expect(got.post).toEqual({ z: 1 });
      await strict.waitForLog(/Maximum number of allowable file uploads/, from);
    });

    test("past post_max_size the script runs with empty $_POST and $_FILES", async () => {
      const { strict } = subject();
      const from = strict.log.mark();
      const got = await post(strict.url, {
        a: "1",
        f: file(45_000, "1"),
        g: file(45_000, "2"),
        h: file(45_000, "3"),
      });
      expect(got.files).toEqual([]);
      expect(Object.keys(got.post)).toEqual([]);
      expect(Number(got.length)).toBeGreaterThan(102_400);
      await strict.waitForLog(/POST Content-Length of \d+ bytes exceeds the limit of 102400 bytes/, from);
    });

    test("past post_max_size php://input of an urlencoded body is empty as well", async () => {
      const answer = await fetch(`${subject().strict.url}/report.php`, {
        method: "POST",
        body: `a=${"x".repeat(200_000)}`,
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
      });
      expect(await answer.json()).toMatchObject({ post: {} });
    });

    test("max_input_vars counts the variables of each kind", async () => {
      const { strict, url } = subject();
      const many = (count: number) => Array.from({ length: count }, (_, i) => `v${i}=1`).join("&");
      const from = strict.log.mark();
      expect(JSON.parse((await get(strict.url, `/vars.php?${many(30)}`)).text)).toMatchObject({ get: 20 });
      await strict.waitForLog(/Input variables exceeded 20/, from);
      // One more than the setting says, as on php-fpm.
      const answer = await fetch(`${url}/vars.php`, {
        method: "POST",
        body: many(1100),
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
      });
      expect(await answer.json()).toMatchObject({ post: 1001 });
    });
  });

  describe("broken multipart", () => {
    const cases: Record<string, string> = {
      "no final boundary": `--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\ncut`,
      "no boundary at all": "nothing of the kind",
      "a part without a name": `--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B--\r\n`,
      "a part without an end of its head": `--B\r\nContent-Disposition: form-data; name="a"`,
      "only a boundary": "--B\r\n",
      "the empty body": "",
      "a very long head": `--B\r\nX: ${"y".repeat(20_000)}\r\n\r\nx\r\n--B--\r\n`,
      NULs: "--B\r\n\0\0\0\r\n\r\n\0\r\n--B--\r\n",
    };
    for (const [name, body] of Object.entries(cases)) {
      test(`${name} is an answer, not an accident`, async () => {
        const { strict } = subject();
        const answer = await raw(
          strict.url,
          requestBytes(
            "POST /upload.php HTTP/1.1",
            ["Content-Type: multipart/form-data; boundary=B", `Content-Length: ${body.length}`],
            body,
          ),
        );
        expect(answer.status).toBe(200);
        for (const { error, uploaded } of (JSON.parse(answer.text) as Answer).files) {
          expect([error, uploaded]).toEqual([3, false]);
        }
        expect((await get(strict.url, "/hello.php")).text).toBe("Hello");
      });
    }

    test("a type without a boundary is told in the log", async () => {
      const { strict } = subject();
      const from = strict.log.mark();
      const headers = ["Content-Type: multipart/form-data", "Content-Length: 3"];
      const answer = await raw(strict.url, requestBytes("POST /upload.php HTTP/1.1", headers, "abc"));
      expect(answer.status).toBe(200);
      await strict.waitForLog(/Missing boundary in multipart/, from);
    });
  });
}

function multipart(...parts: readonly (readonly [string, string])[]): string {
  const text = parts.map(
    ([disposition, content]) => `--B\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${content}\r\n`,
  );
  return `${text.join("")}--B--\r\n`;
}

async function postRaw(url: string, body: string): Promise<Answer> {
  const headers = ["Content-Type: multipart/form-data; boundary=B", `Content-Length: ${body.length}`];
  const answer = await raw(url, requestBytes("POST /upload.php HTTP/1.1", headers, body));
  return JSON.parse(answer.text) as Answer;
}

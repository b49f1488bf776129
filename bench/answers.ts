import type { Stack } from "./stacks/stack.ts";
import type { Workload } from "./workloads.ts";

export interface Answer {
  readonly body: Uint8Array;
  readonly curlCpuSeconds: number;
}

/** Asks once, with curl: it sends the headers it is told to send, and no others. */
export async function ask(stack: Stack, workload: Workload): Promise<Answer> {
  const headers = { Accept: "", "User-Agent": "", ...workload.headers };
  const child = Bun.spawn(
    [
      "curl",
      "-q",
      "--silent",
      "--show-error",
      "--max-time",
      "5",
      "--write-out",
      "%{stderr}status %{http_code}",
      ...Object.entries(headers).flatMap(([name, value]) => ["--header", `${name}: ${value}`.trimEnd()]),
      ...(workload.body === undefined ? [] : ["--data-binary", workload.body]),
      `http://127.0.0.1:${stack.port}${workload.path}`,
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const [body, messages] = await Promise.all([child.stdout.bytes(), child.stderr.text()]);
  await child.exited;
  if (messages !== "status 200") throw new Error(`${stack.title} answers ${workload.path} with ${messages}`);
  return { body, curlCpuSeconds: Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6 };
}

/** Asks each server once. All answers must be as the workload says, and the same to the byte. */
export async function agreedAnswer(stacks: readonly Stack[], workload: Workload): Promise<Uint8Array> {
  let agreed: { body: Uint8Array; stack: Stack } | undefined;
  for (const stack of stacks) {
    const { body } = await ask(stack, workload);
    if (workload.bodyBytes !== undefined && body.length !== workload.bodyBytes) {
      throw new Error(
        `${stack.title} sends ${body.length} bytes for ${workload.path}, not ${workload.bodyBytes}`,
      );
    }
    if (
      !Buffer.from(body).toString("latin1", 0, workload.startsWith.length).startsWith(workload.startsWith)
    ) {
      throw new Error(`${stack.title} answers ${workload.path} with ${preview(body)}`);
    }
    agreed ??= { body, stack };
    if (Buffer.compare(agreed.body, body) === 0) continue;
    throw new Error(
      `${stack.title} and ${agreed.stack.title} answer ${workload.path} differently: ${preview(body)} and ${preview(agreed.body)}`,
    );
  }
  return agreed?.body ?? new Uint8Array();
}

function preview(body: Uint8Array): string {
  return JSON.stringify(Buffer.from(body).toString("latin1", 0, 120));
}

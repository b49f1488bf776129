import { isRight, type RightAnswer, templateOf } from "./right-answer.ts";
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

/**
 * Asks each server once, and tells what all its answers must be. They must be as the workload says; and the same to
 * the byte on all servers, unless the workload is a template.
 */
export async function agreedAnswers(stacks: readonly Stack[], workload: Workload): Promise<RightAnswer[]> {
  const agreed: RightAnswer[] = [];
  for (const stack of stacks) {
    const { body } = await ask(stack, workload);
    const right = templateOf(workload, stack) ?? { bytes: checkedBytes(stack, workload, body) };
    const first = agreed[0];
    if (!isRight(right, body))
      throw new Error(`${stack.title} answers ${workload.path} with ${preview(body)}`);
    if (first !== undefined && "bytes" in first && !isRight(first, body)) {
      throw new Error(
        `${stack.title} and ${stacks[0]!.title} answer ${workload.path} differently: ${preview(body)} and ${preview(first.bytes)}`,
      );
    }
    agreed.push(right);
  }
  return agreed;
}

export async function agreedAnswer(stack: Stack, workload: Workload): Promise<RightAnswer> {
  return (await agreedAnswers([stack], workload))[0]!;
}

function checkedBytes(stack: Stack, { path, bodyBytes, startsWith }: Workload, body: Uint8Array): Uint8Array {
  if (bodyBytes !== undefined && body.length !== bodyBytes)
    throw new Error(`${stack.title} sends ${body.length} bytes for ${path}, not ${bodyBytes}`);
  if (!Buffer.from(body).toString("latin1", 0, startsWith.length).startsWith(startsWith))
    throw new Error(`${stack.title} answers ${path} with ${preview(body)}`);
  return body;
}

function preview(body: Uint8Array): string {
  return JSON.stringify(Buffer.from(body).toString("latin1", 0, 120));
}

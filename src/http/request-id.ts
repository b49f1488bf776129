import { randomBytes } from "node:crypto";

const prefix = randomBytes(6).toString("hex");
let counter = 0;

/** Unique across restarts and machines: a random prefix per process and a counter. */
export function nextRequestId(): string {
  counter = (counter + 1) >>> 0;
  return `${prefix}-${counter.toString(16).padStart(8, "0")}`;
}

import { randomBytes } from "node:crypto";

/** Three hexadecimal digits for every number below 4096: formatting one on each request would cost more. */
const DIGITS = Array.from({ length: 4096 }, (_, number) => number.toString(16).padStart(3, "0"));
const random = randomBytes(6).toString("hex");

let low = 0;
let high = 0;
let prefix = `${random}-00`;

/** Unique across restarts and machines: a random number per process, and a counter. */
export function nextRequestId(): string {
  low = (low + 1) & 0xff_ffff;
  if (low === 0) prefix = `${random}-${(++high).toString(16).padStart(2, "0")}`;
  return prefix + DIGITS[low >>> 12] + DIGITS[low & 4095];
}

import { quality } from "../http/quality-value.ts";

/** The weight of a content coding in an `Accept-Encoding` header, from 0 (refused) to 1. */
export function encodingWeight(header: string, coding: string): number {
  let wildcard = 0;
  for (const part of header.split(",")) {
    const [name = "", ...parameters] = part.split(";");
    const token = name.trim().toLowerCase();
    if (token !== coding && token !== "*" && token !== `x-${coding}`) continue;
    const weight = quality(parameters);
    if (token !== "*") return weight;
    wildcard = weight;
  }
  return wildcard;
}

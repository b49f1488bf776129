/** The `q` parameter among those of one list element; 1 without, 0 when malformed. */
export function quality(parameters: readonly string[]): number {
  for (const parameter of parameters) {
    const match = /^\s*[qQ]\s*=\s*(.*?)\s*$/.exec(parameter);
    if (match === null) continue;
    const value = match[1] ?? "";
    return /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(value) ? Number(value) : 0;
  }
  return 1;
}

/**
 * JSON in plain ASCII. It says the same, and a terminal that it is printed on takes nothing in it for a command:
 * JSON itself leaves DEL, the C1 controls and those that turn the direction of writing as they are.
 */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\x7f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

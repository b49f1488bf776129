/** "37 MiB": for messages, where nobody wants more digits. */
export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1048576)} MiB`;
}

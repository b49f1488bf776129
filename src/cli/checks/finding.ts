/** The result of one check, in a plain sentence; what is not fine says what to do about it. */
export interface Finding {
  readonly level: "ok" | "note" | "warn" | "fail";
  readonly text: string;
  readonly remedy?: string;
}

export const ok = (text: string): Finding => ({ level: "ok", text });
export const note = (text: string): Finding => ({ level: "note", text });
export const warn = (text: string, remedy: string): Finding => ({ level: "warn", text, remedy });
export const fail = (text: string, remedy: string): Finding => ({ level: "fail", text, remedy });

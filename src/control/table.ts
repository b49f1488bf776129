import { escapeControl } from "../log/escape.ts";

export type Color = "bold" | "dim" | "green" | "yellow" | "red" | "cyan";

export interface Cell {
  readonly text: string;
  readonly color?: Color | undefined;
}

export interface Column {
  readonly title: string;
  /** Numbers stand under each other by their last digit. */
  readonly right?: boolean;
  /** Terminals narrower than this do without it. */
  readonly from?: number;
}

export interface Paper {
  /** Infinity when the text does not go to a terminal. */
  readonly columns: number;
  readonly color: boolean;
}

const CODES: Readonly<Record<Color, string>> = {
  bold: "\x1b[1m",
  dim: "\x1b[2m",
  green: "\x1b[32m",
  yellow: "\x1b[33m",
  red: "\x1b[31m",
  cyan: "\x1b[36m",
};
/** Terminals below this show fewer columns, closer together. */
export const ROOMY = 100;

/** Columns as wide as what is in them. The last one takes what is left of the line, and is cut. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  paper: Paper,
): string[] {
  const shown = columns.map(({ from = 0 }) => paper.columns >= from);
  const keep = <T>(list: readonly T[]): T[] => list.filter((_, index) => shown[index]);
  const visible = keep(columns);
  const lines = [visible.map(({ title }) => cell(title, "dim")), ...rows.map(keep)];
  const gap = " ".repeat(paper.columns < ROOMY ? 1 : 2);
  const widths = visible.map((_, index) => Math.max(...lines.map((line) => width(line[index]?.text ?? ""))));
  return lines.map((line) => {
    let room = paper.columns;
    const cells = line.map(({ text, color }, index) => {
      const last = index === visible.length - 1;
      const wide = last ? room : (widths[index] ?? 0);
      room -= wide + gap.length;
      if (last) return paint(cut(text, Math.max(1, wide)), color, paper);
      const space = " ".repeat(Math.max(0, wide - width(text)));
      const painted = paint(text, color, paper);
      return visible[index]?.right === true ? space + painted : painted + space;
    });
    return cells.join(gap).trimEnd();
  });
}

export function cell(text: string, color?: Color): Cell {
  // A server says what it likes: numbers, states and reasons are texts too, as far as JSON goes.
  return { text: escapeControl(String(text)), color };
}

export function paint(text: string, color: Color | undefined, paper: Paper): string {
  return paper.color && color !== undefined && text !== "" ? `${CODES[color]}${text}\x1b[0m` : text;
}

/** What came from outside, as plain ASCII: nothing in it moves a cursor, and each character is one column wide. */
export function plain(text: string): string {
  return escapeControl(text).replace(/[^\x20-\x7e]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code < 256) return `\\x${code.toString(16).padStart(2, "0")}`;
    return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

export function cut(text: string, columns: number): string {
  if (width(text) <= columns) return text;
  let kept = "";
  let used = 1;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    used += width(segment);
    if (used > columns) break;
    kept += segment;
  }
  return `${kept}…`;
}

/** Breaks at spaces; a word that is wider than the line is cut. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line !== "" && width(longer) > columns) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line].map((part) => cut(part, columns));
}

function width(text: string): number {
  return Bun.stringWidth(text);
}

/**
 * PHP source with everything that is no code (HTML, comments, the contents of strings) turned into blanks. Offsets and
 * lines stay as they were; of HTML that can be seen a `$` is left, as a statement of its own. Enough to look for declarations without running PHP, which need not be installed yet.
 */
export function codeOnly(source: string): string {
  return new Blanker(source).run();
}

const OPEN_TAG = /<\?(?:php\b|=)/gi;

class Blanker {
  readonly #source: string;
  #at = 0;
  #code = "";

  constructor(source: string) {
    this.#source = source;
  }

  run(): string {
    while (this.#at < this.#source.length) {
      this.#blankHtml();
      while (this.#at < this.#source.length && !this.#leavesPhp()) this.#token();
    }
    return this.#code;
  }

  #blankHtml(): void {
    OPEN_TAG.lastIndex = this.#at;
    const tag = OPEN_TAG.exec(this.#source);
    this.#blankTo(this.#at + this.#source.slice(this.#at, tag?.index).search(/\S|$/));
    if (this.#at < (tag?.index ?? this.#source.length)) {
      this.#code += "$";
      this.#at++;
    }
    if (tag === null) return this.#blankTo(this.#source.length);
    // What follows a tag begins a statement; after `<?=` it is one that prints.
    this.#blankTo(tag.index + tag[0].length - 2);
    this.#code += tag[0] === "<?=" ? ";$" : " ;";
    this.#at += 2;
  }

  #leavesPhp(): boolean {
    if (!this.#next("?>")) return false;
    this.#code += "; ";
    this.#at += 2;
    return true;
  }

  #token(): void {
    const char = this.#source[this.#at] ?? "";
    if (this.#next("/*")) this.#blankTo(this.#after("*/", this.#at + 2));
    else if (this.#next("//") || (char === "#" && !this.#next("#["))) this.#blankTo(this.#endOfComment());
    else if (char === "'" || char === '"' || char === "`") this.#blankTo(this.#endOfString(this.#at));
    else if (this.#next("<<<") && this.#blankHeredoc()) return;
    else {
      this.#code += char;
      this.#at++;
    }
  }

  /** A one-line comment ends before a closing tag, too. */
  #endOfComment(): number {
    const end = /\r|\n|\?>/g;
    end.lastIndex = this.#at;
    return end.exec(this.#source)?.index ?? this.#source.length;
  }

  #endOfString(start: number): number {
    const quote = this.#source[start] ?? "";
    for (let at = start + 1; at < this.#source.length; at++) {
      const char = this.#source[at];
      if (char === "\\") at++;
      else if (char === quote) return at + 1;
      else if (quote !== "'" && char === "{" && this.#source[at + 1] === "$") at = this.#endOfInsert(at) - 1;
    }
    return this.#source.length;
  }

  /** `{$rows["name"]}` in a string has quotes of its own. */
  #endOfInsert(start: number): number {
    let depth = 0;
    for (let at = start; at < this.#source.length; at++) {
      const char = this.#source[at];
      if (char === "'" || char === '"') at = this.#endOfString(at) - 1;
      else if (char === "{") depth++;
      else if (char === "}" && --depth === 0) return at + 1;
    }
    return this.#source.length;
  }

  #blankHeredoc(): boolean {
    const opening = /^<<<[ \t]*(["']?)([A-Za-z_]\w*)\1\r?\n/.exec(
      this.#source.slice(this.#at, this.#at + 300),
    );
    if (opening === null) return false;
    const end = new RegExp(`^[ \\t]*${opening[2]}\\b`, "gm");
    end.lastIndex = this.#at + opening[0].length;
    const closing = end.exec(this.#source);
    this.#blankTo(closing === null ? this.#source.length : closing.index + closing[0].length);
    return true;
  }

  #next(text: string): boolean {
    return this.#source.startsWith(text, this.#at);
  }

  #after(text: string, from: number): number {
    const found = this.#source.indexOf(text, from);
    return found < 0 ? this.#source.length : found + text.length;
  }

  #blankTo(end: number): void {
    this.#code += this.#source.slice(this.#at, end).replaceAll(/[^\r\n]/g, " ");
    this.#at = end;
  }
}

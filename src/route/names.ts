/**
 * What a file name alone tells. Names are byte strings, and everything here looks at ASCII only: a peer that folded
 * Unicode case ran uploads as PHP.
 */

/** Extensions that hold PHP on some server or other, whatever this one runs. Lower case. */
const sourceExtensions = [
  ".php",
  ".phtml",
  ".phar",
  ".phps",
  ".pht",
  ".php3",
  ".php4",
  ".php5",
  ".php7",
  ".php8",
  ".inc",
];

/** What editors and careful people append to a file before they change it. */
const copySuffix = /(?:[. ~]|\.(?:bak|old|orig|save|swp|swo|tmp))+$/;

/** True for a name that holds PHP source, in any letter case, also as a backup copy or behind trailing dots. */
export function isPhpSource(name: string, scriptExtensions: readonly string[]): boolean {
  const lower = asciiLower(name);
  const stem = lower.replace(copySuffix, "");
  for (const candidate of stem === lower ? [lower] : [lower, stem]) {
    for (const extension of sourceExtensions) if (candidate.endsWith(extension)) return true;
    for (const extension of scriptExtensions) {
      if (candidate.endsWith(asciiLower(extension))) return true;
    }
  }
  return false;
}

/** True for a name that runs as PHP: the letter case must be exact, as it must be for php-fpm. */
export function isScript(name: string, scriptExtensions: readonly string[]): boolean {
  for (const extension of scriptExtensions) if (name.endsWith(extension)) return true;
  return false;
}

/** True when a segment begins with a dot; `/.well-known/` at the root is the one exception (RFC 8615). */
export function hasHiddenSegment(path: string): boolean {
  const at = path.indexOf("/.");
  if (at < 0) return false;
  if (at === 0 && path.startsWith("/.well-known/")) return path.indexOf("/.", 1) > 0;
  return true;
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function asciiLower(text: string): string {
  return /[A-Z]/.test(text) ? text.replace(/[A-Z]+/g, (run) => run.toLowerCase()) : text;
}

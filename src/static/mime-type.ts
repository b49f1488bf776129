import { mimes } from "mrmime";

/** What the table of mrmime leaves out, or names in a way browsers no longer expect. */
const additions: Readonly<Record<string, string>> = {
  "7z": "application/x-7z-compressed",
  aac: "audio/aac",
  apk: "application/vnd.android.package-archive",
  apng: "image/apng",
  avi: "video/x-msvideo",
  bz2: "application/x-bzip2",
  cjs: "text/javascript",
  csv: "text/csv",
  cur: "image/x-icon",
  deb: "application/vnd.debian.binary-package",
  eot: "application/vnd.ms-fontobject",
  flac: "audio/flac",
  flv: "video/x-flv",
  geojson: "application/geo+json",
  gpx: "application/gpx+xml",
  ico: "image/x-icon",
  iso: "application/x-iso9660-image",
  jfif: "image/jpeg",
  js: "text/javascript",
  jsonl: "application/jsonl",
  log: "text/plain",
  m3u8: "application/vnd.apple.mpegurl",
  m4v: "video/mp4",
  map: "application/json",
  mjs: "text/javascript",
  mkv: "video/x-matroska",
  opus: "audio/ogg",
  otf: "font/otf",
  parquet: "application/vnd.apache.parquet",
  rar: "application/vnd.rar",
  rpm: "application/x-rpm",
  swf: "application/x-shockwave-flash",
  tar: "application/x-tar",
  tgz: "application/gzip",
  ttc: "font/collection",
  txt: "text/plain",
  vcf: "text/vcard",
  wasm: "application/wasm",
  wav: "audio/wav",
  webmanifest: "application/manifest+json",
  webp: "image/webp",
  wmv: "video/x-ms-wmv",
  woff: "font/woff",
  woff2: "font/woff2",
  xz: "application/x-xz",
  zst: "application/zstd",
};

/** The Content-Type of a file by its name; the extension's letter case does not matter. */
export function mimeType(name: string): string {
  const extension = /\.([A-Za-z0-9]+)$/.exec(name)?.[1]?.toLowerCase() ?? "";
  const type =
    (Object.hasOwn(additions, extension) && additions[extension]) ||
    (Object.hasOwn(mimes, extension) && mimes[extension]) ||
    "application/octet-stream";
  return type.startsWith("text/") ? `${type}; charset=utf-8` : type;
}

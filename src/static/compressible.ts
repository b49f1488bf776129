/** Text in all but name. Of what is compressed by its own format (woff2, webp, docx) nothing is left to gain. */
const textual = /^text\/|\+(?:json|text|xml|yaml)$/;

/** What mime-db holds for compressible among the types we send, but for archives and what nobody knows. */
const others: ReadonlySet<string> = new Set([
  "application/ecmascript",
  "application/javascript",
  "application/json",
  "application/json5",
  "application/jsonl",
  "application/postscript",
  "application/sql",
  "application/toml",
  "application/vnd.apple.mpegurl",
  "application/vnd.ms-fontobject",
  "application/wasm",
  "application/xml",
  "application/xml-dtd",
  "font/collection",
  "font/otf",
  "font/ttf",
  "image/bmp",
  "image/x-icon",
  "model/gltf-binary",
  "model/obj",
  "model/stl",
]);

/** Is a file of this Content-Type likely to become much smaller? */
export function isCompressible(contentType: string): boolean {
  const [type = ""] = contentType.split(";", 1);
  return textual.test(type) || others.has(type);
}

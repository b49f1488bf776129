interface Wording {
  readonly title: string;
  readonly detail: string;
}

const wordings: Readonly<Record<number, Wording>> = {
  400: { title: "Bad request", detail: "The server could not make sense of this request." },
  401: { title: "Unauthorized", detail: "You need to sign in to see this page." },
  403: { title: "Forbidden", detail: "You are not allowed to see this page." },
  404: { title: "Page not found", detail: "There is nothing at this address." },
  405: { title: "Method not allowed", detail: "This address does not take requests of this kind." },
  408: { title: "Request timeout", detail: "The request took too long to arrive." },
  409: { title: "Conflict", detail: "The request conflicts with the current state." },
  410: { title: "Gone", detail: "This page has been removed for good." },
  411: { title: "Length required", detail: "The request has to say how long it is." },
  412: { title: "Precondition failed", detail: "The page is not in the state the request expected." },
  413: { title: "Request too large", detail: "What you sent is larger than this server takes." },
  414: { title: "Address too long", detail: "The address is longer than this server takes." },
  415: { title: "Unsupported media type", detail: "This server does not take data of this type." },
  416: { title: "Range not satisfiable", detail: "The requested part lies outside the file." },
  417: { title: "Expectation failed", detail: "The server cannot do what the request expects." },
  421: { title: "Misdirected request", detail: "This server does not answer for this address." },
  429: { title: "Too many requests", detail: "Please slow down and try again in a moment." },
  431: { title: "Headers too large", detail: "The request's headers or cookies are too large." },
  500: { title: "Server error", detail: "Something went wrong here. It is not your fault." },
  501: { title: "Not implemented", detail: "This server does not know this kind of request." },
  502: { title: "Bad gateway", detail: "The application ended before it could answer." },
  503: { title: "Service unavailable", detail: "The server is busy. Please try again in a moment." },
  504: { title: "Gateway timeout", detail: "The application took too long to answer." },
  505: { title: "HTTP version not supported", detail: "This server does not speak this version of HTTP." },
};

const somethingElse: Wording = { title: "Error", detail: "The request could not be answered." };

export function wordingFor(status: number): Wording {
  return wordings[status] ?? somethingElse;
}

const style = `
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--text:#1d2433;--muted:#667085;--line:#e4e7ec;--accent:#5b5bd6}
@media(prefers-color-scheme:dark){:root{--bg:#0f1218;--card:#171b24;--text:#e6e9f0;--muted:#98a2b3;--line:#272d3a;--accent:#9b9bf5}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--bg);color:var(--text);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:30rem;padding:2.25rem;background:var(--card);border:1px solid var(--line);border-radius:16px}
p{margin:0;color:var(--muted)}
.status{font:600 .875rem/1 ui-monospace,Menlo,Consolas,monospace;letter-spacing:.08em;color:var(--accent)}
h1{margin:.75rem 0 .5rem;font-size:1.6rem;line-height:1.25;letter-spacing:-.01em}
.id{margin-top:1.5rem;padding-top:1rem;border-top:1px solid var(--line);font-size:.8125rem}
code{font-family:ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
`.replaceAll("\n", "");

/** The built-in page in two halves: the request id, when there is one, goes between them. */
export function htmlHalves(status: number): { readonly before: string; readonly after: string } {
  const { title, detail } = wordingFor(status);
  const before =
    `<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n` +
    `<meta name="viewport" content="width=device-width,initial-scale=1">\n<meta name="robots" content="noindex">\n` +
    `<title>${status} ${escapeHtml(title)}</title>\n<style>${style}</style>\n</head>\n<body>\n<main>\n` +
    `<p class="status">${status}</p>\n<h1>${escapeHtml(title)}</h1>\n<p>${escapeHtml(detail)}</p>\n`;
  return { before, after: "</main>\n</body>\n</html>\n" };
}

export function requestIdLine(requestId: string): string {
  return `<p class="id">Request <code>${escapeHtml(requestId)}</code></p>\n`;
}

export function jsonBody(status: number, requestId: string | null): string {
  const { title, detail } = wordingFor(status);
  return `${JSON.stringify({ error: { status, title, detail, request_id: requestId } })}\n`;
}

export function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

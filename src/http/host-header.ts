/** Host and port of a Host header (RFC 9110, section 7.2); undefined when it is malformed. */
export interface Authority {
  readonly host: string;
  /** Empty when the header names none. */
  readonly port: string;
}

// A registered name or IPv4 address, or an IPv6 address in brackets; underscores occur in practice.
const AUTHORITY = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{0,5}))?$/;
const REMEMBERED = 1024;
/** A name has 253 bytes at most (RFC 1035); what is longer is no host, and is not kept in memory either. */
const LONGEST = 253 + ":65535".length;
const known = new Map<string, Authority | undefined>();

export function parseAuthority(header: string): Authority | undefined {
  if (header.length > LONGEST) return undefined;
  const remembered = known.get(header);
  if (remembered !== undefined || known.has(header)) return remembered;
  const match = AUTHORITY.exec(header);
  const authority = match === null ? undefined : { host: match[1] ?? "", port: match[2] ?? "" };
  if (known.size >= REMEMBERED) known.clear();
  known.set(header, authority);
  return authority;
}

import { BlockList, isIP } from "node:net";
import { type Authority, parseAuthority } from "./host-header.ts";

/** Who asked, and for what scheme and host, as the script is to see it. */
export interface Client {
  readonly remoteAddr: string;
  readonly remotePort: string;
  readonly https: boolean;
  readonly authority: Authority;
  /** SERVER_PORT */
  readonly serverPort: string;
}

/** What the connection itself says. `address` is null on a unix socket. */
export interface Peer {
  readonly address: string | null;
  readonly port: number;
}

type RequestHeaders = Readonly<Record<string, string | undefined>>;

const REMEMBERED = 4096;

/**
 * Tells the client apart from the proxies before it. `Forwarded` (RFC 7239) and `X-Forwarded-*` are believed
 * from trusted peers alone; peers on a unix socket are local and trusted.
 */
export class Clients {
  readonly #trusted = new BlockList();
  readonly #known = new Map<string, boolean>();
  readonly #anyTrusted: boolean;
  readonly #listenPort: string;

  constructor(trustedProxies: readonly string[], listenPort: number | null) {
    for (const entry of trustedProxies) this.#trust(entry);
    this.#anyTrusted = trustedProxies.length > 0;
    this.#listenPort = listenPort === null ? "" : String(listenPort);
  }

  /** undefined: the Host is malformed (400). */
  identify(peer: Peer, headers: RequestHeaders): Client | undefined {
    const direct = parseAuthority(headers["host"] ?? "localhost");
    if (direct === undefined) return undefined;
    const address = plain(peer.address ?? "");
    if (!isForwarded(headers) || !(peer.address === null || this.#isTrusted(address))) {
      const serverPort = this.#listenPort || direct.port || "80";
      return {
        remoteAddr: address,
        remotePort: portText(peer.port),
        https: false,
        authority: direct,
        serverPort,
      };
    }
    return this.#forwarded(address, headers, direct);
  }

  #forwarded(address: string, headers: RequestHeaders, direct: Authority): Client | undefined {
    const hops =
      headers["forwarded"] === undefined ? fromXForwarded(headers) : fromForwarded(headers["forwarded"]);
    // From the nearest hop outwards, up to the first that is not one of ours.
    let client = { address, port: "" };
    for (let i = hops.addresses.length - 1; i >= 0; i--) {
      const hop = parseNode(hops.addresses[i] ?? "");
      if (hop === undefined) break;
      client = hop;
      if (!this.#isTrusted(hop.address)) break;
    }
    const authority = (hops.host === undefined ? undefined : parseAuthority(hops.host)) ?? direct;
    const https = hops.scheme === "https";
    const serverPort = hops.port ?? (authority.port || (https ? "443" : "80"));
    return { remoteAddr: client.address, remotePort: client.port, https, authority, serverPort };
  }

  #trust(entry: string): void {
    const [address = "", prefix] = entry.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (prefix === undefined) this.#trusted.addAddress(address, family);
    else this.#trusted.addSubnet(address, Number(prefix), family);
  }

  #isTrusted(address: string): boolean {
    if (!this.#anyTrusted) return false;
    const remembered = this.#known.get(address);
    if (remembered !== undefined) return remembered;
    const kind = isIP(address);
    const trusted = kind !== 0 && this.#trusted.check(address, kind === 6 ? "ipv6" : "ipv4");
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    this.#known.set(address, trusted);
    return trusted;
  }
}

interface Hops {
  /** Nearest to us last. */
  readonly addresses: readonly string[];
  readonly scheme?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: string | undefined;
}

function isForwarded(headers: RequestHeaders): boolean {
  return (
    headers["x-forwarded-for"] !== undefined ||
    headers["x-forwarded-proto"] !== undefined ||
    headers["forwarded"] !== undefined ||
    headers["x-forwarded-host"] !== undefined ||
    headers["x-forwarded-port"] !== undefined
  );
}

function fromXForwarded(headers: RequestHeaders): Hops {
  const port = last(headers["x-forwarded-port"]);
  return {
    addresses: list(headers["x-forwarded-for"]),
    scheme: last(headers["x-forwarded-proto"])?.toLowerCase(),
    host: last(headers["x-forwarded-host"]),
    port: port !== undefined && /^\d{1,5}$/.test(port) ? port : undefined,
  };
}

/** RFC 7239: `for=192.0.2.60;proto=https;host=a.example, for="[2001:db8::1]:80"`. */
function fromForwarded(header: string): Hops {
  const addresses: string[] = [];
  let scheme: string | undefined;
  let host: string | undefined;
  for (const element of header.split(",")) {
    for (const pair of element.split(";")) {
      const equals = pair.indexOf("=");
      const name = pair.slice(0, equals).trim().toLowerCase();
      const value = pair
        .slice(equals + 1)
        .trim()
        .replace(/^"(.*)"$/, "$1");
      if (name === "for") addresses.push(value);
      else if (name === "proto") scheme = value.toLowerCase();
      else if (name === "host") host = value;
    }
  }
  return { addresses, scheme, host };
}

/** An address with or without port: `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`. */
function parseNode(node: string): { address: string; port: string } | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|(\d+\.\d+\.\d+\.\d+))(?::(\d{1,5}))?$/.exec(node);
  const address = plain(match?.[1] ?? match?.[2] ?? node);
  return isIP(address) === 0 ? undefined : { address, port: match?.[3] ?? "" };
}

/** An IPv4 client of an IPv6 socket, as PHP applications expect to see it. */
function plain(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

function portText(port: number): string {
  return port === 0 ? "" : String(port);
}

function list(header: string | undefined): string[] {
  return header === undefined ? [] : header.split(",").map((item) => item.trim());
}

function last(header: string | undefined): string | undefined {
  return list(header).at(-1) || undefined;
}

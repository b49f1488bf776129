type Handlers = Pick<Bun.SocketHandler<undefined>, "data" | "drain" | "close">;

/** Reads and writes a unix stream socket that is already connected. Bun owns the descriptor from here on. */
export function connectFd(fd: number, handlers: Handlers): Promise<Bun.Socket<undefined>> {
  // `fd` is in Bun's own types under another name (FdSocketOptions) and in none of its overloads.
  const options = { fd, socket: { close: () => undefined, ...handlers, error: () => undefined } };
  return Bun.connect(options as unknown as Bun.UnixSocketOptions<undefined>);
}

import type { ServerStatus } from "./status.ts";

export type ReloadOutcome =
  | { readonly ok: true; readonly notes: readonly string[] }
  /** `reason` may have several lines: one for every error in the configuration. */
  | { readonly ok: false; readonly reason: string };

/** The server, as the control socket and the admin listener see it. */
export interface Controlled {
  status(): ServerStatus | Promise<ServerStatus>;
  /** Settles when the new generations serve, or when the reload was refused. `by` is for the log. */
  reload(by: string): Promise<ReloadOutcome>;
  /** Like SIGTERM: the first lets what runs finish, the second ends it. Returns at once. */
  stop(): void;
}

import type { PoolStatus, RequestStatus, ServerStatus, WorkerStatus } from "./status.ts";

export type PublicRequest = Omit<RequestStatus, "remoteAddr">;
export type PublicWorker = Omit<WorkerStatus, "request"> & { request: PublicRequest | null };
export type PublicPool = Omit<PoolStatus, "workers"> & { workers: PublicWorker[] };

/** The status for those who may see the server but not its visitors. */
export type PublicStatus = Omit<ServerStatus, "pools"> & { pools: PublicPool[] };

/** Leaves out query strings, which carry tokens and personal data, and the addresses of clients. */
export function publicStatus(status: ServerStatus): PublicStatus {
  return {
    ...status,
    pools: status.pools.map((pool) => ({ ...pool, workers: pool.workers.map(publicWorker) })),
  };
}

function publicWorker(worker: WorkerStatus): PublicWorker {
  if (worker.request === null) return { ...worker, request: null };
  const { remoteAddr: _, ...request } = worker.request;
  return { ...worker, request: { ...request, uri: request.uri.replace(/[?#].*$/s, "") } };
}

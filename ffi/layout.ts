/** Offsets into the shared structures, told by the C side at load. The order is that of pool.c. */
export const LAYOUT = [
  "slotBytes",
  "workerBytes",
  "slotClaim",
  "slotId",
  "slotBlockBytes",
  "slotBlockValues",
  "slotBodyInline",
  "slotOptions",
  "slotBodyBytes",
  "slotBodyOffset",
  "slotStatus",
  "slotHeadBytes",
  "slotBodyAt",
  "slotBodySize",
  "slotStartedNs",
  "slotEndedNs",
  "slotSeenPhase",
  "slotSeenOutcome",
  "slotSeenUsed",
  "workerState",
  "workerPid",
  "workerSlot",
  "workerGeneration",
  "workerRequests",
  "workerStartedNs",
  "workerMemoryBytes",
  "workerOwnBytes",
  "workerDroppedLogs",
  "workerLeaving",
  "workerBootedNs",
  "workerLastFunction",
  "headerSlotsAt",
  "headerWorkersAt",
  "headerRequestsAt",
  "headerResponsesAt",
  "headerTotalBytes",
  "headerRequestBytes",
  "headerResponseBytes",
] as const;

export type Layout = Readonly<Record<(typeof LAYOUT)[number], number>>;

/** enum phprun_phase, as seen in `slotSeenPhase`. */
export const Phase = { free: 0, queued: 1, running: 2, responded: 3, ended: 4 } as const;

/** PHPRUN_OUTCOME_* */
export const Outcome = {
  head: 1,
  fatal: 2,
  timedOut: 4,
  truncated: 8,
  notRun: 16,
  badRequest: 32,
} as const;

/** PHPRUN_REQUEST_* */
export const RequestOption = { https: 1, probe: 2 } as const;

/** enum phprun_leaving */
export const Leaving = {
  not: 0,
  asked: 1,
  memory: 2,
  user: 3,
  script: 4,
  fatal: 5,
  boot: 6,
  exception: 7,
} as const;

/** enum phprun_worker_state */
export const WorkerState = { none: 0, starting: 1, idle: 2, busy: 3, gone: 4, ending: 5 } as const;

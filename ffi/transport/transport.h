/*
 * The way of a request between the front and its PHP workers, without any PHP in it.
 *
 * One memfd per pool, mapped by the front and by every worker:
 *
 *   header | worker records | slots | request buffers | response buffers
 *
 * The front puts slot numbers on the submission ring; any worker takes the next one. A worker reports
 * through the completion set, one bit per slot. Every step a worker takes is a single atomic operation
 * that leaves the pool usable if the worker is killed right before or right after it; see
 * docs/decisions/0001-transport-survives-sigkill.md.
 *
 * Functions return 0 or a count, and -errno on failure, unless they say otherwise.
 */
#ifndef PHPRUN_TRANSPORT_H
#define PHPRUN_TRANSPORT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define PHPRUN_API __attribute__((visibility("default")))

/* Grows with every change of a structure or signature below; ffi/library.ts compares it at load. */
#define PHPRUN_TRANSPORT_ABI 4u
#define PHPRUN_MAGIC 0x52504850u /* "PHPR" */

#define PHPRUN_MAX_SLOTS 1024u
#define PHPRUN_MAX_WORKERS 512u
#define PHPRUN_NONE UINT32_MAX

/*
 * Low three bits of phprun_slot.claim. The bits above are the ring index while QUEUED (so a claim that was
 * overtaken by a re-submission fails), and the worker number afterwards.
 */
enum phprun_phase {
    PHPRUN_FREE = 0,
    PHPRUN_QUEUED = 1,    /* submitted, no worker has it */
    PHPRUN_RUNNING = 2,   /* a worker runs it */
    PHPRUN_RESPONDED = 3, /* response complete, the script goes on (fastcgi_finish_request) */
    PHPRUN_ENDED = 4,     /* the worker is done with it */
};
#define PHPRUN_PHASE_BITS 3u
#define PHPRUN_PHASE(claim) ((claim) & 7u)
#define PHPRUN_OWNER(claim) ((claim) >> PHPRUN_PHASE_BITS)

/* phprun_slot.flags: set by the front, read by the worker. */
#define PHPRUN_CLIENT_GONE 1u
#define PHPRUN_DEADLINE 2u /* the soft deadline has passed */

/* phprun_slot.outcome: set by the worker, read by the front. */
#define PHPRUN_OUTCOME_HEAD 1u       /* status and head are final */
#define PHPRUN_OUTCOME_FATAL 2u      /* the script ended in a fatal error or an uncaught exception */
#define PHPRUN_OUTCOME_TIMED_OUT 4u  /* it was ended by its soft deadline */
#define PHPRUN_OUTCOME_TRUNCATED 8u  /* the body is not whole: abort, do not end cleanly */
#define PHPRUN_OUTCOME_NOT_RUN 16u   /* never started: the client had gone while it was queued */
#define PHPRUN_OUTCOME_BAD_REQUEST 32u /* the request block was not well formed */

enum phprun_worker_state {
    PHPRUN_WORKER_NONE = 0,
    PHPRUN_WORKER_STARTING = 1,
    PHPRUN_WORKER_IDLE = 2,
    PHPRUN_WORKER_BUSY = 3,
    PHPRUN_WORKER_GONE = 4,
    PHPRUN_WORKER_ENDING = 5, /* worker mode: its script takes no more requests, and may still run */
};

/* Why a worker ended of its own accord. */
enum phprun_leaving {
    PHPRUN_LEAVING_NOT = 0,
    PHPRUN_LEAVING_ASKED = 1,  /* `retire` was set */
    PHPRUN_LEAVING_MEMORY = 2, /* it held more than the pool's memory limit after a request */
    PHPRUN_LEAVING_USER = 3,   /* its script changed the user it runs as */
    /* Worker mode: */
    PHPRUN_LEAVING_SCRIPT = 4,    /* its script ended by itself */
    PHPRUN_LEAVING_FATAL = 5,     /* a fatal error ended its script */
    PHPRUN_LEAVING_BOOT = 6,      /* its script ended before it asked for a request */
    PHPRUN_LEAVING_EXCEPTION = 7, /* an uncaught exception, where that is to cost the worker */
};

/* phprun_worker.retire; and what phprun_worker_take() returns then */
#define PHPRUN_RETIRE 1u
#define PHPRUN_PROMOTE 2u
#define PHPRUN_TAKE_END (-1)
#define PHPRUN_TAKE_PROMOTE (-2)

#define PHPRUN_FUNCTION_BYTES 192u

/* One per worker. Written by the worker alone, except `wake`, `retire`, `look`, `overdue`, and `state` at birth and death. */
struct phprun_worker {
    alignas(128) _Atomic uint32_t wake; /* futex: 1 when there is reason to look */
    _Atomic uint32_t retire;            /* 1: end after the current request; 2: become the template (PHPRUN_PROMOTE) */
    _Atomic uint32_t state;             /* enum phprun_worker_state */
    uint32_t pid;
    _Atomic uint32_t slot;              /* the slot it runs, or PHPRUN_NONE */
    uint32_t generation;
    _Atomic uint64_t requests;          /* served since its start */
    _Atomic uint64_t started_ns;        /* CLOCK_MONOTONIC start of the current request, 0 when idle */
    _Atomic uint64_t memory_bytes;      /* Zend heap peak of the last request */
    _Atomic uint64_t own_bytes;         /* resident memory less what is shared, when last measured */
    _Atomic uint32_t dropped_logs;      /* log records that found the channel full */
    _Atomic uint32_t leaving;           /* enum phprun_leaving */
    _Atomic uint32_t look;              /* futex: grows each time the front asks where the worker is */
    _Atomic uint32_t look_id;           /* the request that is asked about */
    _Atomic uint32_t overdue;           /* worker mode: its boot or its end takes too long, it is to stop */
    _Atomic uint64_t booted_ns;         /* worker mode: when its script first asked for a request; 0: not yet */
    /* Where a crash found it, as "Class::method() file:line"; NUL-terminated, empty when not known. */
    char last_function[PHPRUN_FUNCTION_BYTES];
};

struct phprun_slot {
    alignas(256) _Atomic uint32_t claim; /* phase and owner, see above */
    _Atomic uint32_t flags;
    uint32_t id;                 /* request number, for logs */
    uint32_t front;

    /* request, written by the front before submission */
    uint32_t block_bytes;        /* length of the request block at the start of the request buffer */
    uint32_t block_values;       /* how many NUL-terminated values it holds */
    uint32_t body_inline;        /* 1: the body follows the block, 0: it is in the spool file */
    uint32_t options;            /* PHPRUN_REQUEST_* of php.h */
    uint64_t body_bytes;
    uint64_t body_offset;        /* in the request buffer, or in the spool file */

    /* response, written by the worker */
    uint32_t status;
    uint32_t head_bytes;         /* NUL-terminated name, value, … at the start of the response buffer */
    uint32_t body_at;            /* where the body ring starts in the response buffer */
    uint32_t body_size;          /* size of the body ring */
    _Atomic uint32_t outcome;
    _Atomic uint32_t used;       /* bytes in the body ring */
    _Atomic uint32_t waiting;    /* futex: 1 while the worker waits for room */
    uint32_t write_at;           /* the worker's position in the body ring */
    uint64_t started_ns;
    uint64_t ended_ns;

    /* snapshot for the front, written by phprun_next_completed() in the front itself */
    uint32_t seen_phase;
    uint32_t seen_outcome;
    uint32_t seen_used;
};

struct phprun_header {
    uint32_t magic;
    uint32_t abi;
    uint32_t slot_count;
    uint32_t worker_count;
    uint32_t ring_capacity; /* power of two, at least twice slot_count */
    uint32_t request_bytes; /* size of each request buffer */
    uint32_t response_bytes;
    uint32_t workers_at; /* offsets from the start of the mapping */
    uint32_t slots_at;
    uint64_t requests_at;
    uint64_t responses_at;
    uint64_t total_bytes;
    _Atomic uint64_t memory_limit_bytes; /* a worker that holds more after a request ends; 0: no limit */
    _Atomic uint64_t memory_kill_bytes;  /* a thread ends a request that holds more; 0: no limit */

    alignas(128) _Atomic uint32_t tail;     /* submission ring: the front's end */
    alignas(128) _Atomic uint32_t head;     /* submission ring: the workers' end */
    alignas(128) _Atomic uint32_t signaled; /* 1: the front has been woken and has not looked yet */
    alignas(128) _Atomic uint64_t completed[PHPRUN_MAX_SLOTS / 64];
    alignas(128) _Atomic uint64_t sleeping[PHPRUN_MAX_WORKERS / 64];
    alignas(128) _Atomic uint32_t ring[2 * PHPRUN_MAX_SLOTS];
};

/*
 * One process's view of a pool. Not shared; `sweep` and `pending` belong to the front's drain.
 *
 * The sizes are those of the header when it was mapped. A script can write to the header, and the front may have
 * more rights than the pool's user: what bounds a loop or an index of the front is never read from there again.
 */
struct phprun_pool {
    uint8_t *base;
    uint64_t total_bytes;
    uint32_t slot_count;
    uint32_t worker_count;
    uint32_t ring_capacity;
    struct phprun_header *header;
    struct phprun_worker *workers;
    struct phprun_slot *slots;
    uint32_t sweep;   /* word of the completion set being walked */
    uint64_t pending; /* its bits not yet handed out */
    int wake_fd;      /* worker: where to write the wake-up byte; -1 in the front */
};

/* ---- any process ---------------------------------------------------------------------------- */

PHPRUN_API uint32_t phprun_transport_abi(void);

/* Writes `count` uint32 offsets (see transport.c) so that TypeScript mirrors no structure by hand. */
PHPRUN_API int32_t phprun_transport_layout(uint32_t *out, uint32_t count);

/* Creates the memfd of a pool, sized and initialised. Returns the descriptor (close-on-exec). */
PHPRUN_API int32_t phprun_pool_create(uint32_t slots, uint32_t workers, uint32_t request_bytes,
                                      uint32_t response_bytes);

/* Maps it. The handle lives until phprun_pool_unmap(); NULL with errno set on failure (EPROTO: other ABI). */
PHPRUN_API struct phprun_pool *phprun_pool_map(int32_t fd);
PHPRUN_API void phprun_pool_unmap(struct phprun_pool *pool);
PHPRUN_API void *phprun_pool_base(struct phprun_pool *pool);

/* ---- front: one thread of one process ------------------------------------------------------- */

/*
 * Hands a filled slot to the workers. The slot must be FREE. -EAGAIN when the ring is full of slots that were
 * withdrawn: try again when a worker has taken something. Wakes nobody: after one or several submissions
 * the front calls phprun_wake_one_worker(), and each woken worker wakes the next while work is left. So a
 * burst costs the front a system call or two.
 */
PHPRUN_API int32_t phprun_submit(struct phprun_pool *pool, uint32_t slot);

/* Wakes a sleeping worker, if there is one. Workers call it too. */
PHPRUN_API void phprun_wake_one_worker(struct phprun_pool *pool);

/* Begins a drain: from here on a worker that completes something wakes the front again. */
PHPRUN_API void phprun_begin_drain(struct phprun_pool *pool);

/* The next slot with news, its snapshot in seen_*; -1 when there is none. A slot may come again. */
PHPRUN_API int32_t phprun_next_completed(struct phprun_pool *pool);

/* Gives `bytes` of the body ring back to the worker, waking it if it waits for room. */
PHPRUN_API void phprun_consume(struct phprun_pool *pool, uint32_t slot, uint32_t bytes);

/* The client has left: the worker's next write, or its start, sees it. */
PHPRUN_API void phprun_client_gone(struct phprun_pool *pool, uint32_t slot);

/* The soft deadline has passed: a worker that is then signalled ends the script. */
PHPRUN_API void phprun_deadline(struct phprun_pool *pool, uint32_t slot);

/*
 * Takes a submitted slot back before a worker has it. Returns 1 when it is FREE again, 0 when a worker was
 * quicker. Its entry stays on the ring; whoever pops it finds that it counts no more.
 */
PHPRUN_API int32_t phprun_withdraw(struct phprun_pool *pool, uint32_t slot);

/* Takes an ended slot back. */
PHPRUN_API void phprun_release(struct phprun_pool *pool, uint32_t slot);

/* Prepares the record of a worker that is about to be started. */
PHPRUN_API void phprun_worker_prepare(struct phprun_pool *pool, uint32_t worker, uint32_t generation);

/* Asks a worker to end after its current request. */
PHPRUN_API void phprun_worker_retire(struct phprun_pool *pool, uint32_t worker);

/* Worker mode: has a worker become the template of further ones, between two requests. In the host. */
void phprun_worker_promote(struct phprun_pool *pool, uint32_t worker);

/* What a worker may hold after a request (see `own_bytes`) before it ends to be replaced; 0: no limit. */
PHPRUN_API void phprun_set_memory_limit(struct phprun_pool *pool, double bytes);

/* What a worker that is a thread may hold during a request before it ends it; 0: no limit. */
PHPRUN_API void phprun_set_memory_kill(struct phprun_pool *pool, double bytes);

/* Worker mode: the boot or the end of a worker takes too long; one that is then signalled ends its script. */
PHPRUN_API void phprun_worker_overdue(struct phprun_pool *pool, uint32_t worker);

/* Asks where a worker is in its request `id`; the answer comes on the log channel. */
PHPRUN_API void phprun_worker_look(struct phprun_pool *pool, uint32_t worker, uint32_t id);

/*
 * A worker has died: repairs what it may have left half done. Returns the slot it was running (the caller
 * answers and releases it), or -1. Drain before it and after it: a wake-up of the front may have died with the
 * worker. Every other worker is woken once, for the same reason.
 */
PHPRUN_API int32_t phprun_worker_bury(struct phprun_pool *pool, uint32_t worker);

/*
 * A worker killed between taking a ring entry and claiming its slot leaves the slot queued behind the
 * ring's head. Submits such slots again; safe to call at any time after a death. Returns how many.
 */
PHPRUN_API int32_t phprun_resubmit_orphans(struct phprun_pool *pool);

/* ---- worker --------------------------------------------------------------------------------- */

/* Waits for the next request. Returns its slot, or PHPRUN_TAKE_END, or PHPRUN_TAKE_PROMOTE. */
int32_t phprun_worker_take(struct phprun_pool *pool, uint32_t worker);

/* Reports news of a slot (a chunk, an early end) without giving it up. */
void phprun_post(struct phprun_pool *pool, uint32_t slot);

/* Moves a slot to RESPONDED or ENDED and reports it. */
void phprun_finish(struct phprun_pool *pool, uint32_t slot, uint32_t worker, enum phprun_phase phase);

/*
 * Copies bytes into the slot's body ring, waiting for room as long as it takes. Returns 0, or -1 when the
 * client is gone (the rest is dropped).
 */
int phprun_body_write(struct phprun_pool *pool, uint32_t slot, const uint8_t *bytes, size_t length);

static inline uint8_t *phprun_request_buffer(const struct phprun_pool *pool, uint32_t slot)
{
    return pool->base + pool->header->requests_at + (uint64_t)slot * pool->header->request_bytes;
}

static inline uint8_t *phprun_response_buffer(const struct phprun_pool *pool, uint32_t slot)
{
    return pool->base + pool->header->responses_at + (uint64_t)slot * pool->header->response_bytes;
}


uint64_t phprun_now_ns(void); /* CLOCK_MONOTONIC */

#endif

/* A request as it lies in its slot. */
#include "shim.h"

#include "../transport/wire.h"

bool request_read(struct request *request, struct worker *worker, uint32_t number)
{
    struct phprun_pool *pool = worker->pool;
    struct phprun_slot *slot = &pool->slots[number];
    const char *block = (const char *)phprun_request_buffer(pool, number);

    *request = (struct request){.worker = worker, .slot = slot, .number = number};
    const int64_t pairs =
        phprun_request_fits(slot, pool->header->request_bytes)
            ? phprun_block_read(block, slot->block_bytes, slot->block_values, request->fields, FIELD_COUNT)
            : -1;
    if (pairs < 0) {
        for (int field = 0; field < FIELD_COUNT; field++) {
            request->fields[field] = "";
        }
        return false;
    }
    request->pairs = block + pairs;
    request->pairs_end = block + slot->block_bytes;
    request->body = slot->body_inline ? (const uint8_t *)block + slot->body_offset : NULL;
    return true;
}

const char *request_variable(const struct request *request, const char *name, size_t length)
{
    for (int field = 0; field < FIELD_COUNT; field++) {
        if (phprun_is_name(phprun_field_names[field], name, length)) {
            return *request->fields[field] != '\0' ? request->fields[field] : NULL;
        }
    }
    return phprun_pair_value(request->pairs, request->pairs_end, name, length);
}

/* An uncaught exception is told by the exit status, other fatal errors by the unclean shutdown. */
bool request_failed(const struct request *request)
{
    return request->fatal && (CG(unclean_shutdown) || EG(exit_status) == 255);
}

static uint32_t outcome_of(const struct request *request)
{
    uint32_t outcome = PHPRUN_OUTCOME_HEAD;
    if (request->fatal) {
        outcome |= PHPRUN_OUTCOME_FATAL;
    }
    if (request->timed_out) {
        outcome |= PHPRUN_OUTCOME_TIMED_OUT;
    }
    /* The client has part of a response that will never be whole, and nothing in it says so. */
    if (request->posted && (request->timed_out || (request->fatal && !PG(display_errors)))) {
        outcome |= PHPRUN_OUTCOME_TRUNCATED;
    }
    return outcome;
}

void request_finish(struct request *request, enum phprun_phase phase)
{
    struct phprun_slot *slot = request->slot;
    if (request->disowned) {
        return;
    }
    if (!request->finished) {
        request->finished = true;
        request->fatal = request_failed(request);
        /* Fatal after output, but before the front saw any of it: still time to say so. */
        if (request->fatal && !request->posted && slot->status == 200) {
            slot->status = 500;
        }
        if (request->head_refused || slot->status == 0) {
            slot->status = 500;
        }
        atomic_store_explicit(&slot->outcome, outcome_of(request), memory_order_release);
    } else if (request->timed_out) {
        atomic_fetch_or(&slot->outcome, PHPRUN_OUTCOME_TIMED_OUT);
    }
    slot->ended_ns = phprun_now_ns();
    phprun_finish(request->worker->pool, request->number, request->worker->number, phase);
}

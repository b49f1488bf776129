/* A request as it lies in its slot. */
#include "shim.h"

#include <string.h>

/* The NUL-terminated value at *at; moves *at behind it. NULL when the block ends first. */
static const char *next_value(const char **at, const char *end)
{
    const char *value = *at;
    const char *nul = memchr(value, '\0', (size_t)(end - value));
    if (nul == NULL) {
        return NULL;
    }
    *at = nul + 1;
    return value;
}

bool request_read(struct request *request, struct worker *worker, uint32_t number)
{
    struct phprun_pool *pool = worker->pool;
    struct phprun_slot *slot = &pool->slots[number];
    const uint8_t *buffer = phprun_request_buffer(pool, number);
    const uint32_t size = pool->header->request_bytes;

    *request = (struct request){.worker = worker, .slot = slot, .number = number};
    for (int field = 0; field < FIELD_COUNT; field++) {
        request->fields[field] = "";
    }
    if (slot->block_bytes > size ||
        (slot->body_inline && (slot->body_offset > size || slot->body_bytes > size - slot->body_offset))) {
        return false;
    }

    const char *at = (const char *)buffer;
    const char *end = at + slot->block_bytes;
    for (int field = 0; field < FIELD_COUNT; field++) {
        const char *value = next_value(&at, end);
        if (value == NULL) {
            return false;
        }
        request->fields[field] = value;
    }
    request->pairs = at;
    request->pairs_end = end;
    /* A NUL smuggled into a value would shift all that follow: the count tells. */
    uint32_t values = FIELD_COUNT;
    while (at < end) {
        if (next_value(&at, end) == NULL) {
            return false;
        }
        values++;
    }
    if (values != slot->block_values || (values - FIELD_COUNT) % 2 != 0) {
        return false;
    }
    request->body = slot->body_inline ? buffer + slot->body_offset : NULL;
    return true;
}

const char *request_variable(const struct request *request, const char *name, size_t length)
{
    for (int field = 0; field < FIELD_COUNT; field++) {
        const char *known = phprun_field_names[field];
        if (strncmp(known, name, length) == 0 && known[length] == '\0') {
            return *request->fields[field] != '\0' ? request->fields[field] : NULL;
        }
    }
    for (const char *at = request->pairs; at < request->pairs_end;) {
        const char *pair_name = at;
        const char *value = pair_name + strlen(pair_name) + 1;
        if (strncmp(pair_name, name, length) == 0 && pair_name[length] == '\0') {
            return value;
        }
        at = value + strlen(value) + 1;
    }
    return NULL;
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
    if (!request->finished) {
        request->finished = true;
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

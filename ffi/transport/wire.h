/*
 * What the front and a worker write to each other in a slot's buffers, as far as it has to be taken apart in C:
 * the request block (see php.h) and the response head. Reads nothing beyond the lengths it is given.
 */
#ifndef PHPRUN_WIRE_H
#define PHPRUN_WIRE_H

#include "transport.h"

#include <stdbool.h>

/* Whether the block, and an inline body, lie within a request buffer of that size. */
bool phprun_request_fits(const struct phprun_slot *slot, uint32_t buffer_bytes);

/*
 * Takes a block apart: its first values go to `fields`, name, value, … follow. `values` is how many the front
 * has counted: a NUL smuggled into one would shift all that follow. Returns where the pairs begin, or -1 when
 * the block is not well formed; `fields` are then not to be used.
 */
int64_t phprun_block_read(const char *block, uint32_t bytes, uint32_t values, const char **fields,
                          uint32_t field_count);

/* Whether `known` is the name of that length, which may hold anything. */
bool phprun_is_name(const char *known, const char *name, size_t length);

/* The value that belongs to a name among well-formed pairs, or NULL. */
const char *phprun_pair_value(const char *pairs, const char *end, const char *name, size_t length);

/* phprun_head_append() */
#define PHPRUN_HEADER_MALFORMED (-1) /* not "Name: value", or a value with a line end or a NUL in it */
#define PHPRUN_HEADER_TOO_LONG (-2)

/*
 * Appends a header line to a response head of `used` bytes, as name, NUL, value, NUL. Returns its new length,
 * or one of the above with the head as it was.
 */
int64_t phprun_head_append(char *head, size_t used, size_t cap, const char *line, size_t length);

#endif

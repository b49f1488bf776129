#include "wire.h"

#include <string.h>

/* ---- request block --------------------------------------------------------------------------- */

bool phprun_request_fits(const struct phprun_slot *slot, uint32_t buffer_bytes)
{
    if (slot->block_bytes > buffer_bytes) {
        return false;
    }
    return !slot->body_inline ||
           (slot->body_offset <= buffer_bytes && slot->body_bytes <= buffer_bytes - slot->body_offset);
}

/* The NUL-terminated value at *at; moves *at behind it. NULL when the block ends first. */
static const char *next_value(const char **at, const char *end)
{
    const char *value = *at;
    const char *nul = value < end ? memchr(value, '\0', (size_t)(end - value)) : NULL;
    if (nul == NULL) {
        return NULL;
    }
    *at = nul + 1;
    return value;
}

int64_t phprun_block_read(const char *block, uint32_t bytes, uint32_t values, const char **fields,
                          uint32_t field_count)
{
    const char *at = block;
    const char *end = block + bytes;
    for (uint32_t field = 0; field < field_count; field++) {
        fields[field] = next_value(&at, end);
        if (fields[field] == NULL) {
            return -1;
        }
    }
    const int64_t pairs = at - block;
    uint32_t found = field_count;
    while (at < end) {
        if (next_value(&at, end) == NULL) {
            return -1;
        }
        found++;
    }
    return found == values && (found - field_count) % 2 == 0 ? pairs : -1;
}

bool phprun_is_name(const char *known, const char *name, size_t length)
{
    return strlen(known) == length && memcmp(known, name, length) == 0;
}

const char *phprun_pair_value(const char *pairs, const char *end, const char *name, size_t length)
{
    for (const char *at = pairs; at < end;) {
        const char *value = at + strlen(at) + 1;
        if (phprun_is_name(at, name, length)) {
            return value;
        }
        at = value + strlen(value) + 1;
    }
    return NULL;
}

/* ---- response head --------------------------------------------------------------------------- */

/* RFC 9110, section 5.6.2: the characters of a field name. */
static bool is_token(const char *text, size_t length)
{
    static const char *const others = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || strchr(others, c) == NULL)) {
            return false;
        }
    }
    return length > 0;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_one_line(const char *text, size_t length)
{
    return memchr(text, '\0', length) == NULL && memchr(text, '\r', length) == NULL &&
           memchr(text, '\n', length) == NULL;
}

int64_t phprun_head_append(char *head, size_t used, size_t cap, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    if (colon == NULL || !is_token(line, (size_t)(colon - line))) {
        return PHPRUN_HEADER_MALFORMED;
    }
    const char *value = colon + 1;
    const char *end = line + length;
    while (value < end && is_space(*value)) {
        value++;
    }
    while (end > value && is_space(end[-1])) {
        end--;
    }
    const size_t name_length = (size_t)(colon - line);
    const size_t value_length = (size_t)(end - value);
    if (!is_one_line(value, value_length)) {
        return PHPRUN_HEADER_MALFORMED;
    }
    const size_t total = name_length + value_length + 2;
    if (used > cap || total > cap - used) {
        return PHPRUN_HEADER_TOO_LONG;
    }
    char *at = head + used;
    memcpy(at, line, name_length);
    at[name_length] = '\0';
    memcpy(at + name_length + 1, value, value_length);
    at[total - 1] = '\0';
    return (int64_t)(used + total);
}

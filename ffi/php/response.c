/* What PHP sends: the head once, then the body into the slot's ring. */
#include "shim.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

/* Appends "name\0value\0" to the head. Returns the new length, or 0 when it does not fit. */
static size_t append_header(char *head, size_t used, size_t cap, const sapi_header_struct *header)
{
    const char *line = header->header;
    const char *end = line + header->header_len;
    const char *colon = memchr(line, ':', header->header_len);
    if (colon == NULL || !is_token(line, (size_t)(colon - line))) {
        log_text(LOG_LEVEL_WARN, "Cannot send a header: it must be 'Name: value', received \"%.100s\"", line);
        return used;
    }
    const char *value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    const size_t name_length = (size_t)(colon - line);
    const size_t value_length = (size_t)(end - value);
    if (memchr(value, '\0', value_length) != NULL) {
        return used;
    }
    if (used + name_length + value_length + 2 > cap) {
        return 0;
    }
    char *at = head + used;
    memcpy(at, line, name_length);
    at[name_length] = '\0';
    memcpy(at + name_length + 1, value, value_length);
    at[name_length + 1 + value_length] = '\0';
    return used + name_length + value_length + 2;
}

static bool is_named(const sapi_header_struct *header, const char *name, size_t name_length)
{
    return header->header_len > name_length && header->header[name_length] == ':' &&
           strncasecmp(header->header, name, name_length) == 0;
}

#define IS_NAMED(header, name) is_named(header, name, sizeof(name) - 1)

/* As in CGI and php-fpm: the first `Status:` header decides, unless a status line has been set. */
static uint32_t status_of(const sapi_headers_struct *headers)
{
    const char *line = headers->http_status_line;
    if (line == NULL || strncasecmp(line, "HTTP/", 5) != 0 || strchr(line, ' ') == NULL) {
        for (const zend_llist_element *element = headers->headers.head; element != NULL; element = element->next) {
            const sapi_header_struct *header = (const sapi_header_struct *)element->data;
            const int status = IS_NAMED(header, "Status") ? atoi(header->header + sizeof "Status") : 0;
            if (status != 0) {
                return (uint32_t)status;
            }
        }
    }
    return (uint32_t)headers->http_response_code;
}

int send_headers(sapi_headers_struct *headers)
{
    struct request *request = current_request();
    if (request == NULL || request->finished || request->slot->body_size != 0) {
        return SAPI_HEADER_SENT_SUCCESSFULLY;
    }
    struct phprun_slot *slot = request->slot;
    struct phprun_pool *pool = request->worker->pool;
    char *head = (char *)phprun_response_buffer(pool, request->number);
    /* The ring must keep a page at least. */
    const size_t cap = pool->header->response_bytes - 4096;

    const uint32_t status = status_of(headers);
    size_t used = 0;
    zend_llist_position position;
    for (sapi_header_struct *header = zend_llist_get_first_ex(&headers->headers, &position); header != NULL;
         header = zend_llist_get_next_ex(&headers->headers, &position)) {
        if (IS_NAMED(header, "Status") || (status == 304 && IS_NAMED(header, "Content-Type"))) {
            continue;
        }
        const size_t longer = append_header(head, used, cap, header);
        if (longer == 0 && header->header_len > 0 && used + header->header_len > cap - 2) {
            log_text(LOG_LEVEL_ERROR, "Cannot send the response: its headers must fit %zu bytes", cap);
            request->head_refused = true;
            used = 0;
            break;
        }
        used = longer;
    }
    slot->status = status;
    slot->head_bytes = (uint32_t)used;
    slot->body_at = (uint32_t)((used + 63) & ~(size_t)63);
    slot->body_size = pool->header->response_bytes - slot->body_at;
    atomic_fetch_or_explicit(&slot->outcome, PHPRUN_OUTCOME_HEAD, memory_order_release);
    return SAPI_HEADER_SENT_SUCCESSFULLY;
}

size_t write_body(const char *bytes, size_t length)
{
    struct request *request = current_request();
    if (request == NULL) {
        /* Start-up, before there is any request: warnings that PHP prints rather than logs. */
        log_text(LOG_LEVEL_WARN, "%.*s", (int)length, bytes);
        return length;
    }
    struct phprun_slot *slot = request->slot;
    if (request->finished || request->head_refused || length == 0 || slot->body_size == 0) {
        return length;
    }
    if (length > slot->body_size - atomic_load_explicit(&slot->used, memory_order_relaxed)) {
        request->posted = true;
    }
    if (phprun_body_write(request->worker->pool, request->number, (const uint8_t *)bytes, length) == 0) {
        return length;
    }
    /* Last statement on purpose: it may longjmp to php_execute_script(). */
    php_handle_aborted_connection();
    return length;
}

void flush_body(void *server_context)
{
    struct request *request = server_context;
    /* As in php-fpm: without a head there is nothing to send, and header() still works after flush(). */
    if (request == NULL || request->finished || request->slot->body_size == 0 || request->head_refused) {
        return;
    }
    request->posted = true;
    phprun_post(request->worker->pool, request->number);
    if (atomic_load_explicit(&request->slot->flags, memory_order_relaxed) & PHPRUN_CLIENT_GONE) {
        php_handle_aborted_connection();
    }
}

/* What PHP sends: the head once, then the body into the slot's ring. */
#include "app.h"

#include "../transport/wire.h"

#include <Zend/zend_exceptions.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
        const int64_t longer = phprun_head_append(head, used, cap, header->header, header->header_len);
        if (longer == PHPRUN_HEADER_TOO_LONG) {
            log_text(LOG_LEVEL_ERROR, "Cannot send the response: its headers must fit %zu bytes", cap);
            request->head_refused = true;
            used = 0;
            break;
        }
        if (longer == PHPRUN_HEADER_MALFORMED) {
            log_text(LOG_LEVEL_WARN, "Cannot send a header: it must be 'Name: value', received \"%.100s\"",
                     header->header);
            continue;
        }
        used = (size_t)longer;
    }
    slot->status = status;
    slot->head_bytes = (uint32_t)used;
    slot->body_at = (uint32_t)((used + 63) & ~(size_t)63);
    slot->body_size = pool->header->response_bytes - slot->body_at;
    return SAPI_HEADER_SENT_SUCCESSFULLY;
}

/*
 * From here on the front may see the head, whenever it looks: a failure can no longer change it. Not in
 * send_headers() already, because late news of the slot's request before may make the front look at any time.
 */
static void show_head(struct request *request)
{
    request->posted = true;
    atomic_fetch_or_explicit(&request->slot->outcome, PHPRUN_OUTCOME_HEAD, memory_order_release);
}

/*
 * As php_handle_aborted_connection() but in worker mode: there a bailout would cost the worker, so the script is ended
 * as by exit(). May longjmp, so it comes last.
 */
static void handle_gone_client(void)
{
    if (app_current() == NULL) {
        php_handle_aborted_connection();
        return;
    }
    PG(connection_status) = PHP_CONNECTION_ABORTED;
    php_output_set_status(PHP_OUTPUT_DISABLED);
    if (!PG(ignore_user_abort) && app_current()->stage == APP_HANDLING && EG(current_execute_data) != NULL &&
        EG(exception) == NULL) {
        zend_throw_unwind_exit();
    }
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
        show_head(request);
    }
    if (phprun_body_write(request->worker->pool, request->number, (const uint8_t *)bytes, length) == 0) {
        return length;
    }
    /* Last statement on purpose: it may longjmp to php_execute_script(). */
    handle_gone_client();
    return length;
}

void flush_body(void *server_context)
{
    struct request *request = server_context;
    /* As in php-fpm: without a head there is nothing to send, and header() still works after flush(). */
    if (request == NULL || request->finished || request->slot->body_size == 0 || request->head_refused) {
        return;
    }
    show_head(request);
    phprun_post(request->worker->pool, request->number);
    if (atomic_load_explicit(&request->slot->flags, memory_order_relaxed) & PHPRUN_CLIENT_GONE) {
        handle_gone_client();
    }
}

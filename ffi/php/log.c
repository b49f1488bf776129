/*
 * Log records to the front, on a channel of their own (a unix stream socket):
 *
 *   u32 length of the rest | u16 level | u16 more (bit 0: the text goes on in the next record of this worker, which
 *   begins with a whole character; bit 1: behind the last NUL of the text are fields, as JSON)
 *   u32 worker (PHPRUN_NONE: the host) | u32 request | u16 script length | script | text
 *
 * A record is at most 4096 bytes and goes out in one send, so records of several workers do not mix. One of
 * LOG_LEVEL_SLOW or LOG_LEVEL_RENEW is always whole, has no script, and may come between two parts of another message
 * of its worker.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>

#define RECORD_BYTES 4096
#define SCRIPT_BYTES 1024
/* Of a message and its fields; below LONGEST_TEXT of src/pool/log-channel.ts. */
#define MOST_WITH_FIELDS 60000u

enum { MORE_FOLLOWS = 1, MORE_FIELDS = 2 };

/* How long a worker waits for a front that does not read. After that the record is dropped and counted. */
#define LOG_PATIENCE_MS 100
/* No message: without it scripts would stay as they were. */
#define RENEW_PATIENCE_MS 1000

struct record {
    uint32_t length;
    uint16_t level;
    uint16_t more;
    uint32_t worker;
    uint32_t request;
    uint16_t script_length;
    char bytes[RECORD_BYTES - 18];
} __attribute__((packed));

static int log_fd = -1;
static _Thread_local struct worker *self;

void log_startup(int fd)
{
    log_fd = fd;
}

int log_descriptor(void)
{
    return log_fd;
}

void log_as_worker(struct worker *worker)
{
    self = worker;
}

struct worker *log_worker(void)
{
    return self;
}

static void send_record(const struct worker *worker, const struct record *record, int patience_ms)
{
    const size_t size = record->length + sizeof record->length;
    for (;;) {
        /* The kernel takes so few bytes whole or not at all. */
        if (send(log_fd, record, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            return;
        }
        if (errno == EINTR) {
            continue;
        }
        struct pollfd room = {.fd = log_fd, .events = POLLOUT};
        if (errno != EAGAIN || poll(&room, 1, patience_ms) <= 0) {
            break;
        }
    }
    if (worker != NULL) {
        atomic_fetch_add(&worker->pool->workers[worker->number].dropped_logs, 1);
    }
}

/* Where to cut a longer UTF-8 text so that each part is one by itself; at most 3 bytes before `length`. */
static size_t cut_at_character(const char *text, size_t length)
{
    size_t end = length;
    while (end > length - 3 && ((unsigned char)text[end] & 0xc0) == 0x80) {
        end--;
    }
    return ((unsigned char)text[end] & 0xc0) == 0x80 ? length : end; /* not UTF-8 anyway */
}

static void log_bytes(enum log_level level, const char *text, size_t length, uint16_t more)
{
    const struct request *request = current_request();
    const char *script = request != NULL ? request->fields[FIELD_SCRIPT_FILENAME] : "";
    size_t script_length = strlen(script);
    if (script_length > SCRIPT_BYTES) {
        script_length = SCRIPT_BYTES;
    }
    struct record record = {
        .level = (uint16_t)level,
        .worker = self != NULL ? self->number : PHPRUN_NONE,
        .request = request != NULL ? request->slot->id : 0,
        .script_length = (uint16_t)script_length,
    };
    memcpy(record.bytes, script, script_length);
    const size_t room = sizeof record.bytes - script_length;
    do {
        const size_t part = length < room ? length : cut_at_character(text, room);
        memcpy(record.bytes + script_length, text, part);
        record.more = (uint16_t)(more | (part < length ? MORE_FOLLOWS : 0));
        record.length = (uint32_t)(offsetof(struct record, bytes) - sizeof record.length + script_length + part);
        send_record(self, &record, LOG_PATIENCE_MS);
        text += part;
        length -= part;
    } while (length > 0);
}

void log_text(enum log_level level, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    /* PHP's own vsnprintf: ap_php_vsnprintf is what its headers map the name to. */
    const int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0) {
        log_bytes(level, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1, 0);
    }
}

void log_message(const char *message, int syslog_type)
{
    const enum log_level level = syslog_type <= LOG_ERR       ? LOG_LEVEL_ERROR
                                 : syslog_type <= LOG_WARNING ? LOG_LEVEL_WARN
                                 : syslog_type <= LOG_INFO    ? LOG_LEVEL_INFO
                                                              : LOG_LEVEL_DEBUG;
    log_bytes(level, message, strlen(message), 0);
}

void log_with_fields(enum log_level level, const char *message, size_t length, const char *fields, size_t fields_length)
{
    if (fields == NULL) {
        log_bytes(level, message, length, 0);
        return;
    }
    /* The front puts no more together than this; half a JSON text would be none. */
    if (length + fields_length > MOST_WITH_FIELDS) {
        log_bytes(level, message, length, 0);
        log_text(LOG_LEVEL_WARN, "The context of the message above is left out: it has %zu bytes as JSON, %u are allowed",
                 fields_length, MOST_WITH_FIELDS);
        return;
    }
    char *text = malloc(length + 1 + fields_length);
    if (text == NULL) {
        log_bytes(level, message, length, 0);
        return;
    }
    memcpy(text, message, length);
    text[length] = '\0';
    memcpy(text + length + 1, fields, fields_length);
    log_bytes(level, text, length + 1 + fields_length, MORE_FIELDS);
    free(text);
}

/* One record, whole, without a script. */
static void send_whole(struct record record, const struct worker *worker, const char *text, size_t length,
                       int patience_ms)
{
    const size_t taken = length < sizeof record.bytes ? length : sizeof record.bytes;
    memcpy(record.bytes, text, taken);
    record.worker = worker != NULL ? worker->number : PHPRUN_NONE;
    record.length = (uint32_t)(offsetof(struct record, bytes) - sizeof record.length + taken);
    send_record(worker, &record, patience_ms);
}

void log_slow(struct worker *worker, uint32_t request, const char *text, size_t length)
{
    const struct record record = {.level = LOG_LEVEL_SLOW, .request = request};
    send_whole(record, worker, text, length, LOG_PATIENCE_MS);
}

void log_renew(const char *why)
{
    const struct record record = {.level = LOG_LEVEL_RENEW};
    send_whole(record, self, why, strlen(why), RENEW_PATIENCE_MS);
}

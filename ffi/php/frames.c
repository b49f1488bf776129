/*
 * The stack may change or be freed while it is read, or be damaged. So every byte of it comes through
 * process_vm_readv() on our own process: what is not there is an error return, never a fault. Nothing is allocated
 * and nothing of PHP is called. What is read may still be nonsense; whoever asks reads twice and compares.
 */
#define _GNU_SOURCE
#include "frames.h"

#include "text.h"

#include <sys/uio.h>
#include <unistd.h>

/* No class, function or path is this long: the length is not one. */
#define LONGEST_STRING 65536u
/* Deeper than a backtrace ever looks, placeholders included. */
#define MOST_STEPS 4096u
/* Generators in one chain of `yield from`; what lies beyond is left out. */
#define MOST_WAITING 100u

zend_executor_globals *frames_executor(void)
{
    /* With threads EG() has no name for the whole, only for its parts. */
    return (zend_executor_globals *)((char *)&EG(current_execute_data) -
                                     offsetof(zend_executor_globals, current_execute_data));
}

/* `from` may be no address at all, so it is reckoned with as a number. */
static bool copy(void *to, const void *from, size_t offset, size_t bytes)
{
    const struct iovec ours = {to, bytes};
    const struct iovec theirs = {(void *)((uintptr_t)from + offset), bytes};
    return process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0) == (ssize_t)bytes;
}

#define COPY_FIELD(to, from, field) copy(&(to), from, offsetof(typeof(*(from)), field), sizeof(to))

/* The NUL in the name of an anonymous class ends it; what follows is a path. A log line stays one line. */
static void make_printable(char *bytes)
{
    for (char *at = bytes; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f) {
            *at = '?';
        }
    }
}

static bool copy_string(struct text *text, const zend_string *string, bool is_path)
{
    char bytes[FRAME_TEXT_BYTES + 2]; /* one more than is shown: text.h then sees that it is cut, and where */
    size_t length;
    if (string == NULL || !COPY_FIELD(length, string, len) || length > LONGEST_STRING) {
        return false;
    }
    const size_t taken = length < sizeof bytes - 1 ? length : sizeof bytes - 1;
    if (!copy(bytes, string, offsetof(zend_string, val) + (is_path ? length - taken : 0), taken)) {
        return false;
    }
    bytes[taken] = '\0';
    make_printable(bytes);
    (is_path ? text_end : text_beginning)(text, bytes, FRAME_TEXT_BYTES);
    return true;
}

static uint32_t line_of(const struct frames *frames, const zend_op_array *code, const zend_op *opline)
{
    const zend_op *const handlers = frames->executor->exception_op;
    const size_t handlers_bytes = sizeof frames->executor->exception_op;
    uint32_t line;
    /* While an exception is on its way, the instruction that threw it is kept elsewhere. */
    if ((uintptr_t)opline - (uintptr_t)handlers < handlers_bytes) {
        opline = frames->executor->opline_before_exception;
    }
    if ((uintptr_t)opline - (uintptr_t)code->opcodes >= (uintptr_t)code->last * sizeof(zend_op) ||
        !COPY_FIELD(line, opline, lineno)) {
        return 0;
    }
    return line;
}

static bool read_name(struct frame *frame, const zend_execute_data *data, const zend_op_array *function)
{
    struct text name = text_in(frame->name, sizeof frame->name);
    if (function->function_name == NULL) {
        text_say(&name, data->prev_execute_data == NULL ? "{main}" : "{include}");
        return true;
    }
    if (function->scope != NULL) {
        const zend_string *class_name;
        if (!COPY_FIELD(class_name, function->scope, name) || !copy_string(&name, class_name, false)) {
            return false;
        }
        text_say(&name, Z_TYPE(data->This) == IS_OBJECT ? "->" : "::");
    }
    if (!copy_string(&name, function->function_name, false)) {
        return false;
    }
    text_say(&name, "()");
    return true;
}

/* A user function is read whole; one written in C has only what both begin with. */
static bool read_function(zend_op_array *function, const zend_function *from)
{
    memset(function, 0, sizeof *function);
    if (!copy(function, from, 0, sizeof from->common)) {
        return false;
    }
    switch (function->type) {
    case ZEND_INTERNAL_FUNCTION:
        return true;
    case ZEND_USER_FUNCTION:
    case ZEND_EVAL_CODE:
        return copy(function, from, 0, sizeof *function);
    default:
        return false;
    }
}

static bool read_frame(const struct frames *frames, struct frame *frame, const zend_execute_data *data,
                       const zend_op_array *function)
{
    struct text file = text_in(frame->file, sizeof frame->file);
    frame->line = 0;
    if (!read_name(frame, data, function)) {
        return false;
    }
    if (function->type == ZEND_INTERNAL_FUNCTION) {
        return true;
    }
    frame->line = line_of(frames, function, data->opline);
    return copy_string(&file, function->filename, true);
}

/* The generator that this one waits for; NULL when it runs itself. */
static const zend_generator *delegate_of(const zend_generator *generator)
{
    const zend_generator *delegate = NULL;
    COPY_FIELD(delegate, generator, node.parent);
    return delegate;
}

/*
 * While generators wait in `yield from`, the one they wait for runs, called by a placeholder that names the
 * outermost of them. Their frames are where they would be had each called the next.
 */
static void note_waiting(struct frames *frames, const zend_execute_data *placeholder)
{
    const zend_class_entry *class = NULL;
    if (Z_TYPE(placeholder->This) != IS_OBJECT) {
        return;
    }
    COPY_FIELD(class, Z_OBJ(placeholder->This), ce);
    if (class != zend_ce_generator) {
        return;
    }
    frames->outermost = (const zend_generator *)Z_OBJ(placeholder->This);
    const zend_generator *delegate = delegate_of(frames->outermost);
    while (delegate != NULL && frames->waiting < MOST_WAITING) {
        frames->waiting++;
        delegate = delegate_of(delegate);
    }
}

static bool read_waiting(const struct frames *frames, zend_execute_data *data)
{
    const zend_generator *generator = frames->outermost;
    const zend_execute_data *from;
    for (uint32_t inwards = 0; inwards < frames->waiting; inwards++) {
        generator = delegate_of(generator);
    }
    return COPY_FIELD(from, generator, execute_data) && copy(data, from, 0, sizeof *data);
}

/* Moves on to the caller. */
static bool step(struct frames *frames, zend_execute_data *data)
{
    if (frames->broken) {
        return false;
    }
    if (++frames->passed > MOST_STEPS) {
        frames->broken = true;
        return false;
    }
    if (frames->waiting > 0) {
        frames->waiting--;
        frames->broken = !read_waiting(frames, data);
        return !frames->broken;
    }
    if (frames->at == NULL) {
        return false;
    }
    frames->broken = !copy(data, frames->at, 0, sizeof *data);
    frames->at = data->prev_execute_data;
    if (!frames->broken && data->func == NULL) {
        note_waiting(frames, data);
    }
    return !frames->broken;
}

struct frames frames_of(const zend_executor_globals *executor)
{
    /* Another thread may be changing it: read once. */
    const zend_execute_data *const at = *(zend_execute_data *const volatile *)&executor->current_execute_data;
    return (struct frames){.executor = executor, .at = at};
}

bool frames_next(struct frames *frames, struct frame *frame)
{
    zend_execute_data data;
    while (step(frames, &data)) {
        zend_op_array function;
        if (data.func == NULL) {
            continue; /* a placeholder */
        }
        if (!read_function(&function, data.func)) {
            frames->broken = true;
            return false;
        }
        if (function.type == ZEND_INTERNAL_FUNCTION && function.function_name == NULL) {
            continue; /* the floor of a fiber */
        }
        frames->broken = !read_frame(frames, frame, &data, &function);
        return !frames->broken;
    }
    return false;
}

bool frames_skip(struct frames *frames)
{
    zend_execute_data data;
    return step(frames, &data);
}

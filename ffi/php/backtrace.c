/*
 * Where PHP is, in one line: innermost function first, each with the place it is at. A function written in C has no
 * place of its own. No argument is ever shown: it may be a password.
 *
 *   at sleep() ← App\Report->build() /srv/app/src/Report.php:88 ← {main} /srv/app/index.php:30
 */
#include "shim.h"

#include "frames.h"
#include "text.h"

#define MOST_FRAMES 30u
/* Beyond this the frames are not even counted. */
#define MOST_COUNTED 1000u
#define ARROW " ← "
/* Kept for the words that say how many are left out. */
#define REST_BYTES 32u
/* Of a crash: what makes the whole fit a worker's record. */
#define CRASH_NAME_BYTES 52u
#define CRASH_FILE_BYTES 60u
/* C functions between a crash and the PHP code that called them. */
#define MOST_C_FRAMES 4u

static void add_place(struct text *text, const struct frame *frame, size_t most)
{
    if (frame->file[0] == '\0') {
        return;
    }
    text_say(text, " ");
    text_end(text, frame->file, most);
    if (frame->line != 0) {
        text_say(text, ":");
        text_number(text, frame->line);
    }
}

static void add_rest(struct text *text, struct frames *frames)
{
    uint32_t left = 1;
    while (left < MOST_COUNTED && frames_skip(frames)) {
        left++;
    }
    text_say(text, ARROW "… ");
    text_number(text, left);
    text_say(text, left == MOST_COUNTED ? " or more" : " more");
}

size_t backtrace_text(const zend_executor_globals *executor, char *bytes, size_t room)
{
    char piece_bytes[sizeof(struct frame) + sizeof ARROW + 16];
    struct text text = text_in(bytes, room);
    struct frames frames = frames_of(executor);
    struct frame frame;
    uint32_t count = 0;
    while (frames_next(&frames, &frame)) {
        struct text piece = text_in(piece_bytes, sizeof piece_bytes);
        text_say(&piece, count == 0 ? "at " : ARROW);
        text_say(&piece, frame.name);
        add_place(&piece, &frame, FRAME_CUT_BYTES);
        if (count == MOST_FRAMES || text.length + piece.length + REST_BYTES >= room) {
            add_rest(&text, &frames);
            return text.length;
        }
        text_add(&text, piece.bytes, piece.length);
        count++;
    }
    if (frames.broken) {
        text_say(&text, count == 0 ? "in a PHP stack that cannot be read" : ARROW "…");
    } else if (count == 0) {
        text_say(&text, "not in a PHP function");
    }
    return text.length;
}

void crash_place_text(const zend_executor_globals *executor, char *bytes, size_t room)
{
    struct text text = text_in(bytes, room);
    struct frames frames = frames_of(executor);
    struct frame frame;
    for (uint32_t count = 0; count < MOST_C_FRAMES && frames_next(&frames, &frame); count++) {
        const bool is_php = frame.file[0] != '\0';
        if (count > 0 && !is_php) {
            continue; /* the innermost one is enough */
        }
        text_say(&text, count == 0 ? "" : ARROW);
        text_end(&text, frame.name, CRASH_NAME_BYTES);
        add_place(&text, &frame, CRASH_FILE_BYTES);
        if (is_php) {
            return;
        }
    }
}

/* Text put together in a buffer of fixed size. No allocation and no library: a signal handler may use it. */
#ifndef PHPRUN_TEXT_H
#define PHPRUN_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
    char *bytes; /* NUL-terminated */
    size_t room; /* with the NUL */
    size_t length;
};

static inline struct text text_in(char *bytes, size_t room)
{
    bytes[0] = '\0';
    return (struct text){.bytes = bytes, .room = room};
}

/* Adds what there is room for. */
static inline void text_add(struct text *text, const char *bytes, size_t length)
{
    const size_t left = text->room - text->length - 1;
    length = length < left ? length : left;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

static inline void text_say(struct text *text, const char *words)
{
    text_add(text, words, strlen(words));
}

static inline void text_number(struct text *text, uint32_t number)
{
    char digits[10];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    text_add(text, digits + at, sizeof digits - at);
}

static inline int text_splits_character(char next)
{
    return ((unsigned char)next & 0xc0) == 0x80;
}

/* The first `most` bytes, and a mark when there are more. */
static inline void text_beginning(struct text *text, const char *words, size_t most)
{
    const size_t length = strlen(words);
    if (length <= most) {
        text_add(text, words, length);
        return;
    }
    while (most > 0 && text_splits_character(words[most])) {
        most--;
    }
    text_add(text, words, most);
    text_say(text, "…");
}

/* The last `most` bytes, which say more of a path than its first. */
static inline void text_end(struct text *text, const char *words, size_t most)
{
    const size_t length = strlen(words);
    if (length > most) {
        words += length - most;
        while (text_splits_character(*words)) {
            words++;
        }
        text_say(text, "…");
    }
    text_say(text, words);
}

#endif

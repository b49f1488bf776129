/*
 * What is taken apart in C, fed with random and with mutated input that ends right before a page nobody may
 * read, and compared with a plainer way of doing the same.
 */
#include "check.h"

#include "../../ffi/transport/wire.h"

#define FIELDS 19u
#define ROOM 8192u

/* `ROOM` bytes between two pages that may not be touched. */
static char *make_room(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, ROOM + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "errno %d", errno);
    CHECK(mprotect(memory, page, PROT_NONE) == 0 && mprotect(memory + page + ROOM, page, PROT_NONE) == 0, "errno %d",
          errno);
    return memory + page;
}

/* ---- request block --------------------------------------------------------------------------- */

static uint32_t count_nuls(const char *block, uint32_t bytes)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        count += block[i] == '\0';
    }
    return count;
}

/* A block as the front would write it; the values are short, empty, long, or not ASCII. */
static uint32_t write_block(struct chance *chance, char *block, uint32_t *values)
{
    *values = FIELDS + 2 * below(chance, 12);
    uint32_t at = 0;
    for (uint32_t value = 0; value < *values; value++) {
        const uint32_t length = below(chance, 20) == 0 ? below(chance, 150) : below(chance, 12);
        for (uint32_t i = 0; i < length; i++) {
            block[at++] = (char)(1 + below(chance, 255));
        }
        block[at++] = '\0';
    }
    return at;
}

static void mutate(struct chance *chance, char *block, uint32_t *bytes, uint32_t *values)
{
    for (uint32_t times = below(chance, 4); times > 0; times--) {
        switch (below(chance, 6)) {
        case 0:
            *bytes = below(chance, *bytes + 1);
            break;
        case 1:
            if (*bytes > 0) {
                block[below(chance, *bytes)] = (char)next_random(chance);
            }
            break;
        case 2:
            if (*bytes > 0) {
                block[below(chance, *bytes)] = '\0';
            }
            break;
        case 3:
            *values += below(chance, 5) - 2;
            break;
        case 4:
            *values = (uint32_t)next_random(chance);
            break;
        default:
            *bytes += below(chance, 3) < *bytes ? 0 : 1;
            break;
        }
    }
}

static void check_pairs(struct chance *chance, const char *pairs, const char *end)
{
    for (const char *at = pairs; at < end;) {
        const char *value = at + strlen(at) + 1;
        CHECK(value < end && value + strlen(value) < end, "a pair reaches beyond the block");
        const char *found = phprun_pair_value(pairs, end, at, strlen(at));
        CHECK(found != NULL && found <= value, "%s was not found", at);
        /* Names that only begin like this one, and names with a NUL in them, as getenv() lets scripts ask for. */
        char longer[600];
        const size_t length = strlen(at);
        memcpy(longer, at, length + 1);
        memset(longer + length + 1, 'x', 100);
        const char *strange = phprun_pair_value(pairs, end, longer, length + 1 + below(chance, 100));
        CHECK(strange == NULL, "a name with a NUL in it was found");
        at = value + strlen(value) + 1;
    }
    CHECK(phprun_pair_value(pairs, end, "\1\2\3", 3) == NULL || pairs < end, "found in nothing");
    (void)phprun_pair_value(pairs, end, "", 0);
}

static void fuzz_block(struct chance *chance, char *room)
{
    char block[ROOM];
    uint32_t values;
    uint32_t bytes = write_block(chance, block, &values);
    const bool intact = below(chance, 4) == 0;
    if (!intact) {
        mutate(chance, block, &bytes, &values);
    }
    char *placed = room + ROOM - bytes;
    memcpy(placed, block, bytes);

    const char *fields[FIELDS];
    const int64_t pairs = phprun_block_read(placed, bytes, values, fields, FIELDS);
    /* Well formed is: ends with a NUL, holds as many as were counted, and names and values are even. */
    const bool well_formed = bytes > 0 && placed[bytes - 1] == '\0' && count_nuls(placed, bytes) == values &&
                             values >= FIELDS && (values - FIELDS) % 2 == 0;
    CHECK((pairs >= 0) == well_formed, "%u bytes, %u values", bytes, values);
    CHECK(!intact || pairs >= 0, "a good block was refused");
    if (pairs < 0) {
        return;
    }
    const char *expected = placed;
    for (uint32_t field = 0; field < FIELDS; field++) {
        CHECK(fields[field] == expected, "field %u", field);
        expected += strlen(expected) + 1;
    }
    CHECK(placed + pairs == expected, "pairs at %lld", (long long)pairs);
    check_pairs(chance, placed + pairs, placed + bytes);
}

static uint64_t odd_number(struct chance *chance)
{
    static const uint64_t odd[] = {0, 1, 4095, 4096, 4097, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                                   INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 4096, UINT64_MAX};
    return below(chance, 3) == 0 ? below(chance, 5000) : odd[below(chance, sizeof odd / sizeof odd[0])];
}

static void fuzz_bounds(struct chance *chance)
{
    struct phprun_slot slot = {
        .block_bytes = (uint32_t)odd_number(chance),
        .body_inline = below(chance, 2),
        .body_bytes = odd_number(chance),
        .body_offset = odd_number(chance),
    };
    const uint32_t size = 4096;
    const bool fits = slot.block_bytes <= size &&
                      (!slot.body_inline || (unsigned __int128)slot.body_offset + slot.body_bytes <= size);
    CHECK(phprun_request_fits(&slot, size) == fits, "block %u, body %llu at %llu", slot.block_bytes,
          (unsigned long long)slot.body_bytes, (unsigned long long)slot.body_offset);
}

/* ---- response head --------------------------------------------------------------------------- */

static size_t write_line(struct chance *chance, char *line)
{
    static const char *const parts[] = {"X-Name", "Set-Cookie", ":", ": ", ":\t \t", "value", " ", "\t", "\r\n", "\n",
                                        "", "é", "\x01", "(", "a=b; c", "\xff", "Location", ":::"};
    size_t at = 0;
    for (uint32_t count = below(chance, 7); count > 0; count--) {
        const char *part = parts[below(chance, sizeof parts / sizeof parts[0])];
        memcpy(line + at, part, strlen(part));
        at += strlen(part);
        if (below(chance, 30) == 0) {
            line[at++] = '\0';
        }
    }
    if (below(chance, 50) == 0) {
        const size_t more = below(chance, 500);
        memset(line + at, 'v', more);
        at += more;
    }
    return at;
}

/* RFC 9110: token, colon, and a value without line ends or NULs. */
static bool is_header(const char *line, size_t length)
{
    static const char *const token =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
    size_t name = 0;
    while (name < length && line[name] != '\0' && strchr(token, line[name]) != NULL) {
        name++;
    }
    if (name == 0 || name == length || line[name] != ':') {
        return false;
    }
    for (size_t i = name; i < length; i++) {
        if (line[i] == '\0' || line[i] == '\r' || line[i] == '\n') {
            return false;
        }
    }
    return true;
}

static void fuzz_head(struct chance *chance, char *room, char *line_room)
{
    const size_t cap = below(chance, 600);
    char *head = room + ROOM - cap;
    size_t used = 0;
    for (uint32_t lines = below(chance, 20); lines > 0; lines--) {
        char text[4096];
        const size_t length = write_line(chance, text);
        char *line = line_room + ROOM - length;
        memcpy(line, text, length);
        const int64_t longer = phprun_head_append(head, used, cap, line, length);
        CHECK((longer == PHPRUN_HEADER_MALFORMED) == !is_header(line, length), "\"%.*s\"", (int)length, line);
        if (longer < 0) {
            continue;
        }
        CHECK((size_t)longer > used && (size_t)longer <= cap, "%lld of %zu", (long long)longer, cap);
        const char *name = head + used;
        const char *value = name + strlen(name) + 1;
        CHECK(value + strlen(value) + 1 == head + longer, "\"%.*s\"", (int)length, line);
        CHECK(strncmp(name, line, strlen(name)) == 0 && line[strlen(name)] == ':', "\"%s\"", name);
        const size_t last = strlen(value) - 1;
        CHECK(*value == '\0' || (strchr(" \t", value[0]) == NULL && strchr(" \t", value[last]) == NULL), "\"%s\"",
              value);
        CHECK(memmem(line, length, value, strlen(value)) != NULL, "\"%s\"", value);
        used = (size_t)longer;
    }
}

/* ---- examples -------------------------------------------------------------------------------- */

static void check_header(const char *line, const char *name, const char *value)
{
    char head[64];
    const int64_t length = phprun_head_append(head, 0, sizeof head, line, strlen(line));
    if (name == NULL) {
        CHECK(length == PHPRUN_HEADER_MALFORMED, "\"%s\"", line);
        return;
    }
    CHECK(length == (int64_t)(strlen(name) + strlen(value) + 2), "\"%s\" gives %lld", line, (long long)length);
    CHECK(strcmp(head, name) == 0 && strcmp(head + strlen(name) + 1, value) == 0, "\"%s\"", line);
}

static void check_examples(void)
{
    check_header("A: b", "A", "b");
    check_header("A:b", "A", "b");
    check_header("A:", "A", "");
    check_header("A: \t ", "A", "");
    check_header("A: b: c ", "A", "b: c");
    check_header("A: \xc3\xa9", "A", "\xc3\xa9");
    check_header("", NULL, NULL);
    check_header(":", NULL, NULL);
    check_header(": b", NULL, NULL);
    check_header("A", NULL, NULL);
    check_header("A : b", NULL, NULL);
    check_header(" A: b", NULL, NULL);
    check_header("\xc3\x84: b", NULL, NULL);
    check_header("A: b\r\nSet-Cookie: c", NULL, NULL);
    check_header("A: b\nc", NULL, NULL);

    char head[8];
    CHECK(phprun_head_append(head, 0, 4, "A: b", 4) == 4, "an exact fit");
    CHECK(phprun_head_append(head, 0, 3, "A: b", 4) == PHPRUN_HEADER_TOO_LONG, "one byte too long");
    CHECK(phprun_head_append(head, 0, 0, "A: b", 4) == PHPRUN_HEADER_TOO_LONG, "no room at all");
    CHECK(phprun_head_append(head, 4, 8, "C: d", 4) == 8 && memcmp(head + 4, "C\0d", 4) == 0, "a second one");
}

int main(void)
{
    struct chance chance = begin_test();
    char *room = make_room(), *line_room = make_room();
    check_examples();
    const uint32_t times = EFFORT(400000u);
    const uint64_t began = phprun_now_ns();
    for (uint32_t i = 0; i < times; i++) {
        fuzz_block(&chance, room);
        fuzz_bounds(&chance);
        fuzz_head(&chance, room, line_room);
    }
    printf("    %u blocks, bounds and heads, %.0f a second\n", times, times / seconds_since(began));
    return 0;
}

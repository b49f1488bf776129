/*
 * PHP's call stack in every state of damage: its words are replaced at random by others of it, by numbers and by
 * addresses where nothing is. The texts made of it must stay within their buffers, and nothing may fault. Linked with
 * ffi/php/frames.c and backtrace.c alone, without PHP.
 */
#include "php/frames.h"
#include "php/shim.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 15000
#define FRAMES 40

zend_executor_globals executor_globals;
zend_class_entry *zend_ce_generator;

static struct {
    zend_execute_data data[FRAMES];
    zend_op_array functions[4];
    zend_op code[8];
    zend_class_entry class, generators;
    zend_generator waiting[3];
    uint64_t strings[4][64];
} whole, stack;

/* Makes a string; where it will lie when the stack is read. */
static zend_string *string_at(int number, const char *pattern, size_t length)
{
    zend_string *string = (zend_string *)whole.strings[number];
    string->len = length;
    for (size_t i = 0; i < length; i++) {
        string->val[i] = pattern[i % strlen(pattern)];
    }
    return (zend_string *)stack.strings[number];
}

static void build(void)
{
    zend_string *const names[] = {string_at(0, "name€", 21), string_at(2, "Long\\Class\n", 450)};
    zend_string *const path = string_at(1, "/folder€", 400);
    for (int i = 0; i < 4; i++) {
        whole.functions[i] = (zend_op_array){
            .type = i == 1 ? ZEND_INTERNAL_FUNCTION : ZEND_USER_FUNCTION,
            .function_name = i == 3 ? NULL : names[i == 2],
            .scope = i == 2 ? &stack.class : NULL,
            .opcodes = stack.code,
            .last = 8,
            .filename = path,
        };
    }
    whole.class.name = string_at(3, "Class", 5);
    for (int i = 0; i < 3; i++) {
        whole.waiting[i].std.ce = &stack.generators;
        whole.waiting[i].execute_data = &stack.data[i];
        whole.waiting[i].node.parent = i < 2 ? &stack.waiting[i + 1] : NULL;
    }
    for (int i = 0; i < FRAMES; i++) {
        whole.data[i].opline = &stack.code[i % 8];
        whole.data[i].func = i == 5 ? NULL : (zend_function *)&stack.functions[i % 4];
        whole.data[i].prev_execute_data = i < FRAMES - 1 ? &stack.data[i + 1] : NULL;
        if (i == 5) {
            ZVAL_OBJ(&whole.data[i].This, &stack.waiting[0].std);
        }
    }
    zend_ce_generator = &stack.generators;
    EG(current_execute_data) = &stack.data[0];
}

static uint64_t something(void)
{
    uint64_t *words = (uint64_t *)&stack;
    const uint64_t numbers[] = {0, 1, 8, 200, 201, 65536, UINT64_MAX, UINT64_C(1) << 63};
    switch (rand() % 4) {
    case 0:
        return words[(size_t)rand() % (sizeof stack / 8)];
    case 1:
        return (uint64_t)(uintptr_t)&words[(size_t)rand() % (sizeof stack / 8)] + (uint64_t)(rand() % 3);
    case 2:
        return numbers[rand() % 8];
    default:
        return (uint64_t)rand() << 16;
    }
}

int main(void)
{
    build();
    for (int round = 0; round < ROUNDS; round++) {
        stack = whole;
        for (int change = rand() % 6; change > 0; change--) {
            ((uint64_t *)&stack)[(size_t)rand() % (sizeof stack / 8)] = something();
        }
        /* On the heap and of just this size, so that the sanitizer sees what is beyond. */
        const size_t room = round % 3 == 0 ? 192 : round % 3 == 1 ? BACKTRACE_BYTES : 48;
        char *text = malloc(room);
        const size_t length = backtrace_text(frames_executor(), text, room);
        if (length != strlen(text) || length >= room || strchr(text, '\n') != NULL) {
            return 1;
        }
        crash_place_text(frames_executor(), text, room);
        if (strlen(text) >= room || strchr(text, '\n') != NULL) {
            return 2;
        }
        free(text);
    }
    char text[BACKTRACE_BYTES];
    stack = whole;
    backtrace_text(frames_executor(), text, sizeof text);
    puts(text);
    return 0;
}

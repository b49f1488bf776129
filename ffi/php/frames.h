/* PHP's call stack as others see it: another thread while PHP runs on, or a signal handler after a crash. */
#ifndef PHPRUN_FRAMES_H
#define PHPRUN_FRAMES_H

#include <main/php.h>
#include <Zend/zend_generators.h>
#include <stdbool.h>

/* Longer names and paths are cut. */
#define FRAME_TEXT_BYTES 200u
#define FRAME_CUT_BYTES (FRAME_TEXT_BYTES + sizeof "…")

struct frame {
    char name[2 * FRAME_CUT_BYTES + 4]; /* "sleep()", "App\Report->build()", "{main}" */
    char file[FRAME_CUT_BYTES];         /* where it is; empty for a function written in C */
    uint32_t line;                      /* 0: not known */
};

struct frames {
    const zend_executor_globals *executor;
    const zend_execute_data *at;
    const zend_generator *outermost; /* of generators that wait in `yield from` for the one that runs */
    uint32_t waiting;                /* those of them that are still to be told */
    uint32_t passed;                 /* steps so far: a damaged stack may lead in circles */
    bool broken;                     /* the stack ended where it could not be read */
};

/* The executor of the calling thread. */
zend_executor_globals *frames_executor(void);

/* Starts at the innermost frame. */
struct frames frames_of(const zend_executor_globals *executor);

/* Reads the next frame outwards; false when there is none. Touches no memory itself, so it cannot fault. */
bool frames_next(struct frames *frames, struct frame *frame);

/* Passes a frame without reading what it is; false when there is none. */
bool frames_skip(struct frames *frames);

#endif

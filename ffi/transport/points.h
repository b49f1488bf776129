/*
 * Places where a worker may die or be stopped and nothing may be lost: right before and right after each of its
 * atomic steps. test/ffi/transport-kill.c does it to it at each of them, and test/ffi/transport-stress.c dawdles
 * there; in a real build they are nothing.
 */
#ifndef PHPRUN_POINTS_H
#define PHPRUN_POINTS_H

#ifdef PHPRUN_TEST_POINTS
__attribute__((weak)) void phprun_at_point(const char *name);
#define PHPRUN_POINT(name) (phprun_at_point != NULL ? phprun_at_point(name) : (void)0)
#else
#define PHPRUN_POINT(name) ((void)0)
#endif

#endif

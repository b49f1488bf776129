/* System calls that Bun does not offer and that have nothing to do with a pool. */
#ifndef PHPRUN_SYSTEM_H
#define PHPRUN_SYSTEM_H

#include "transport.h"

/* A connected pair of unix stream sockets (non-blocking, close-on-exec) into out[0], out[1]. */
PHPRUN_API int32_t phprun_socketpair(int32_t *out);

/* Gives the blocks of a file's range back to the file system; its size stays. */
PHPRUN_API int32_t phprun_punch(int32_t fd, double offset, double bytes);

/* Raises the limit of open files to the hard limit. Returns what it is now. */
PHPRUN_API double phprun_raise_open_files(void);

/*
 * Opens a library for the whole process (RTLD_GLOBAL), which Bun's dlopen cannot: PHP's shared extensions
 * find libphp's symbols no other way. Returns 0, or the length of a message written to `error`.
 */
PHPRUN_API int32_t phprun_open_global(const char *path, char *error, uint32_t cap);

#endif

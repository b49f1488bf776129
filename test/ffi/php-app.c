/* The same as php-threads.c with workers in worker mode: one script per worker, which boots once and runs the others. */
#define WORKER_MODE 1
#include "php-threads.c"

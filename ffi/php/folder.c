/*
 * chdir() where workers are threads of one process: PHP keeps a working directory per thread itself, and its own
 * functions go by that. Where the kernel keeps one per thread too, it follows (as at the start of each request, see
 * worker.c), for libraries that open files by themselves.
 */
#include "shim.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static zif_handler chdir_of_php;

static void follow(struct worker *worker)
{
    char folder[PATH_MAX];
    if (VCWD_GETCWD(folder, sizeof folder) != NULL && chdir(folder) == 0) {
        free(worker->folder);
        worker->folder = strdup(folder);
    }
}

static ZEND_NAMED_FUNCTION(change_folder)
{
    chdir_of_php(INTERNAL_FUNCTION_PARAM_PASSTHRU);
    const struct request *request = current_request();
    if (Z_TYPE_P(return_value) == IS_TRUE && request != NULL && request->worker->has_folder) {
        follow(request->worker);
    }
}

void folder_thread_startup(void)
{
    replace_function("chdir", change_folder, &chdir_of_php);
}

/*
 * Programs that a script starts, where workers are threads of one process: they get the environment and the folder
 * of the request, which are not those of the process.
 *
 * proc_open() takes both as arguments. Everything else (exec() and its like, popen(), mail()) goes through C's
 * popen(), which PHP hands a command that begins with `cd`; the variables are not put there too, since anybody on the
 * machine can read the commands of others. Ours does what C's does, and only for a request that has called putenv().
 */
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of one that our popen() has started. */
struct program {
    FILE *pipe;
    pid_t pid;
    struct program *next;
};

static __thread struct program *programs;

/* With the handler that it had; a copy, to be called with arguments of ours. */
static zend_internal_function proc_open_of_php;

static int spawn_shell(pid_t *pid, const char *command, int from, int to, char **environment)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, from, to);
    char *arguments[] = {"sh", "-c", "--", (char *)command, NULL};
    const int error = posix_spawn(pid, "/bin/sh", &actions, NULL, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Like popen(), with another environment. */
static FILE *open_shell(const char *command, bool reads, char **environment)
{
    struct program *program = malloc(sizeof *program);
    int ends[2];
    if (program == NULL || pipe2(ends, O_CLOEXEC) != 0) {
        free(program);
        return NULL;
    }
    const int ours = ends[reads ? 0 : 1], theirs = ends[reads ? 1 : 0];
    int error = spawn_shell(&program->pid, command, theirs, reads ? STDOUT_FILENO : STDIN_FILENO, environment);
    close(theirs);
    program->pipe = error == 0 ? fdopen(ours, reads ? "r" : "w") : NULL;
    if (program->pipe == NULL) {
        error = error != 0 ? error : errno;
        close(ours);
        free(program);
        errno = error;
        return NULL;
    }
    program->next = programs;
    programs = program;
    return program->pipe;
}

/*
 * The files that PHP opens are not close-on-exec, and those of all requests are in one table: a program gets the
 * standard descriptors, and those that proc_open() gives it afterwards.
 */
static void keep_files_to_ourselves(void)
{
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
}

static FILE *popen_of_request(const char *command, const char *mode)
{
    keep_files_to_ourselves();
    char **environment = *mode == 'r' || *mode == 'w' ? environment_list() : NULL;
    if (environment == NULL) {
        return popen(command, mode);
    }
    FILE *pipe = open_shell(command, *mode == 'r', environment);
    pefree(environment, 1);
    return pipe;
}

static int pclose_of_request(FILE *pipe)
{
    struct program **link = &programs;
    while (*link != NULL && (*link)->pipe != pipe) {
        link = &(*link)->next;
    }
    struct program *program = *link;
    if (program == NULL) {
        return pclose(pipe);
    }
    *link = program->next;
    const pid_t pid = program->pid;
    free(program);
    fclose(pipe);
    int status;
    pid_t ended;
    do {
        ended = waitpid(pid, &status, 0);
    } while (ended < 0 && errno == EINTR);
    return ended < 0 ? -1 : status;
}

/* In the form "NAME=value" without keys, proc_open() takes everything, also what is empty. */
static void list_as_array(zval *array, char **list)
{
    array_init(array);
    for (char **entry = list; *entry != NULL; entry++) {
        add_next_index_string(array, *entry);
    }
}

enum { COMMAND, DESCRIPTORS, PIPES, FOLDER, ENVIRONMENT, OPTIONS, ARGUMENT_COUNT };

static ZEND_NAMED_FUNCTION(open_process)
{
    const uint32_t count = EX_NUM_ARGS();
    keep_files_to_ourselves();
    if (count <= PIPES || count > ARGUMENT_COUNT) {
        proc_open_of_php.handler(INTERNAL_FUNCTION_PARAM_PASSTHRU);
        return;
    }
    zval arguments[ARGUMENT_COUNT];
    for (uint32_t i = 0; i < ARGUMENT_COUNT; i++) {
        if (i < count) {
            ZVAL_COPY(&arguments[i], ZEND_CALL_ARG(execute_data, i + 1));
        } else {
            ZVAL_NULL(&arguments[i]);
        }
    }
    char folder[PATH_MAX];
    if (Z_TYPE(arguments[FOLDER]) == IS_NULL && VCWD_GETCWD(folder, sizeof folder) != NULL) {
        ZVAL_STRING(&arguments[FOLDER], folder);
    }
    char **environment = Z_TYPE(arguments[ENVIRONMENT]) == IS_NULL ? environment_list() : NULL;
    if (environment != NULL) {
        list_as_array(&arguments[ENVIRONMENT], environment);
        pefree(environment, 1);
    }
    zend_call_known_function((zend_function *)&proc_open_of_php, NULL, NULL, return_value, ARGUMENT_COUNT, arguments,
                             NULL);
    if (Z_TYPE_P(return_value) == IS_UNDEF) {
        ZVAL_NULL(return_value); /* it has thrown */
    }
    for (uint32_t i = 0; i < ARGUMENT_COUNT; i++) {
        zval_ptr_dtor(&arguments[i]);
    }
}

void programs_thread_startup(void)
{
    const zend_function *function = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("proc_open"));
    if (function != NULL && function->type == ZEND_INTERNAL_FUNCTION) {
        proc_open_of_php = function->internal_function;
        replace_function("proc_open", open_process, NULL);
    }
    /* What ours has opened, C's cannot close. */
    if (replace_import("pclose", (void *)pclose_of_request)) {
        replace_import("popen", (void *)popen_of_request);
    }
}

/*
 * Worker mode: the application boots once, then answers request after request. Private to ffi/php.
 *
 *   app.c      the life of a worker script: its boot, its end, and what became of the request it had then
 *   handle.c   phprun_handle_request(): the way of one request through the script
 *   fresh.c    what each request finds anew
 *   session.c  the session, which is each request's own
 *   reset.c    what each request finds as it was after the boot, where that is asked for (worker.reset)
 *   template.c workers forked from a host whose application has booted
 *   state.c    the state-bleed detector (worker.paranoid)
 */
#ifndef PHPRUN_APP_H
#define PHPRUN_APP_H

#include "shim.h"

enum app_stage {
    APP_BOOTING,  /* the script has not asked for a request yet */
    APP_WAITING,  /* it waits for the next one; no PHP code runs */
    APP_HANDLING, /* its handler runs, or what belongs to the request behind it */
    APP_AFTER,    /* the answer is complete, the script goes on until it asks again */
    APP_ENDING,   /* it has been told that there is no further request */
};

/* One worker script that runs. */
struct app {
    struct worker *worker; /* NULL: a template that has not forked yet */
    enum app_stage stage;
    enum phprun_leaving leaving; /* why no further request is taken */
    pid_t pid;                   /* of the process that has booted it */
    struct request request;      /* from APP_HANDLING to the end of APP_AFTER */
    uint32_t handled;            /* requests since the boot, in this process */
    double booted_at;            /* Unix time; 0: not yet */
    HashTable *shutdown_of_boot; /* shutdown functions that are not the request's */
    zval server_of_boot;         /* $_SERVER as the boot had it */
    zend_long seconds_of_boot;   /* max_execution_time, likewise */
    zend_long ignores_abort_of_boot; /* ignore_user_abort */
};

/* What phprun_app_configure() was given. `script` is NULL in classic mode. */
struct app_config {
    const char *script;
    const char *script_name;
    const char *document_root;
    uint32_t options; /* PHPRUN_APP_* */
};
extern struct app_config app_config;

static inline bool app_has(uint32_t option)
{
    return (app_config.options & option) != 0;
}

/* The script that runs on the calling thread; NULL in classic mode, and while none does. */
struct app *app_current(void);

/* The script has asked for its first request. In a template it comes back in each forked worker. False: it has thrown. */
bool app_booted(struct app *app);
/* Its worker is to become the template. Likewise. */
bool app_promote(struct app *app);
/* No further request: the script is told so, and is to end. */
void app_end(struct app *app, enum phprun_leaving why);

/* handle.c: the next request of the script; false: there is none. May not return. */
bool app_handle(struct app *app, zend_fcall_info *handler, zend_fcall_info_cache *cache);
/* What belongs to a request once its answer is complete and the script has come back, or has ended. */
void app_leave(struct app *app);

/* fresh.c: called by app.c once and by handle.c for each request, in this order. */
void fresh_startup(void);               /* before the script runs */
void fresh_after_fork(void);            /* timers are not inherited, and seeds not wanted */
void fresh_set_no_request(void);        /* what scripts are told of the request they have not got */
void fresh_booted(struct app *app);     /* the boot's own output and headers go to the log, and nowhere else */
void fresh_begin(struct app *app);      /* superglobals, headers, output and time limit of app->request */
void fresh_end_output(void);            /* buffers and headers go out */
void fresh_leave(struct app *app);      /* all of it is gone; the front gets the slot back */
void fresh_forget(void);                /* at the end of the worker: what was noted at the boot */
void fresh_ending(void);                /* for code that is no request's: its output goes to the log */
void fresh_close(void);                 /* behind that */

/* session.c */
void session_startup(void);
void session_close_boots(void); /* before a fork */
void session_booted(void);
void session_begin(void);
void session_end(void);
void session_forget(void); /* at the end of the worker: what was noted at the boot */

/* reset.c */
void reset_startup(void);
void reset_booted(void);
void reset_request(struct worker *worker);
void reset_forget(void);

/*
 * template.c: boots the application in the host, which becomes the template of its workers. Comes back in each of
 * those when it ends, and in the host when the boot has failed; with the status to end with.
 */
int template_run(void);
void template_before_fork(void);
void template_after_fork(void);
void template_forget(void);
/* A hook of the application's runs, which is not to ask for a request. */
bool template_hooks_run(void);
/* This process is a template that has not forked yet. */
bool template_waits(void);
/* Runs the fork server. Comes back in each forked worker, with what that is; the host ends in here. */
struct worker *template_serve(void);
/* host.c: the same without what surrounds it. */
struct worker *host_serve_template(void);
/* host.c: what a forked process does first to be a worker. `parent`: who must be its parent, and ends it. */
struct worker *host_become_worker(uint32_t number, pid_t parent);
/* A worker becomes the template. Comes back in each worker forked from it; or in itself, when it cannot be one. */
struct worker *template_promote(struct worker *worker);
/* It does not become one, and takes requests again. */
void template_decline(const struct worker *worker);
/* Hooks of scripts. */
PHP_FUNCTION(phprun_before_fork);
PHP_FUNCTION(phprun_after_fork);

/* state.c */
void state_booted(void);
void state_look(const struct app *app);
void state_forget(void);

/* An exception that nobody has caught: to the application's own handler, else to PHP's. exit() is none. */
void app_settle_exception(struct app *app);

/* handle.c, functions.c: what scripts call. */
PHP_FUNCTION(phprun_handle_request);

#endif

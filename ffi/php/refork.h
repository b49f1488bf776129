/* What host and template say to each other when the template is a worker that has been promoted. Private to ffi/php. */
#ifndef PHPRUN_REFORK_H
#define PHPRUN_REFORK_H

#include "shim.h"

enum refork_note_kind {
    REFORK_SPAWN = 1,    /* to the template: fork this worker, of this generation */
    REFORK_SPAWNED = 2,  /* from it: its pid */
    REFORK_FAILED = 3,   /* from it: errno */
    REFORK_PROMOTED = 4, /* from a worker: it is none any more, but the template */
    REFORK_DECLINED = 5, /* from a worker: it cannot be, and stays what it is */
};

struct refork_note {
    uint32_t kind, worker, argument;
};

/* In the host, before the first fork. False when the system does not allow it. */
bool refork_startup(void);
int refork_host_socket(void);
int refork_template_socket(void);
pid_t refork_host(void);

/* In the host: has the template fork a worker. False when there is none to hear it. */
bool refork_ask(uint32_t worker, uint32_t generation);
/* In the host: the next note from a template. False when there is none. */
bool refork_hear(struct refork_note *note);
/* In the host: the template has died; what it has not done is not left for the next one. */
void refork_forget_asked(void);

/* In a worker that was to be promoted. */
void refork_decline(uint32_t worker);
/* The same: comes back in each worker forked from it, with its number and generation. */
uint32_t refork_serve(uint32_t worker, uint32_t *generation);

#endif

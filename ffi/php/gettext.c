/*
 * textdomain() where workers are threads of one process: C keeps one default domain of messages for all of them. Here
 * each request has its own. Where the messages of a domain lie (bindtextdomain) stays the same for all.
 */
#include "shim.h"

#include <libintl.h>
#include <stdlib.h>
#include <string.h>

/* libintl.h has macros of the same names. */
#undef dcgettext
#undef dcngettext

static __thread char *domain; /* NULL: C's default */

static char *textdomain_of_request(const char *name)
{
    if (name != NULL) {
        free(domain);
        domain = *name != '\0' ? strdup(name) : NULL;
    }
    return domain != NULL ? domain : textdomain(NULL);
}

static char *dcgettext_of_request(const char *name, const char *message, int category)
{
    return dcgettext(name != NULL ? name : domain, message, category);
}

static char *dcngettext_of_request(const char *name, const char *one, const char *many, unsigned long count,
                                   int category)
{
    return dcngettext(name != NULL ? name : domain, one, many, count, category);
}

void gettext_thread_startup(void)
{
    /* gettext() is compiled to these, with NULL for the default domain. */
    if (replace_import("dcgettext", (void *)dcgettext_of_request) &&
        replace_import("dcngettext", (void *)dcngettext_of_request)) {
        replace_import("textdomain", (void *)textdomain_of_request);
    }
}

void gettext_request_shutdown(void)
{
    free(domain);
    domain = NULL;
}

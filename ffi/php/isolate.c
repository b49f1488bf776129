/*
 * What a process has once, and each request is to have for itself where workers are threads of one process: see
 * docs/decisions/0009-what-threads-share.md.
 */
#include "shim.h"

void isolate_thread_startup(void)
{
    environment_thread_startup();
    programs_thread_startup();
    folder_thread_startup();
    locale_thread_startup();
    gettext_thread_startup();
    syslog_thread_startup();
}

void isolate_worker_startup(void)
{
    locale_worker_startup();
}

void isolate_request_shutdown(void)
{
    environment_request_shutdown();
    locale_request_shutdown();
    gettext_request_shutdown();
}

void isolate_worker_shutdown(void)
{
    locale_worker_shutdown();
}

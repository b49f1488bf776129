/* phprun_log(), and its constants. Private to ffi/php. */
#ifndef PHPRUN_LOG_FUNCTION_H
#define PHPRUN_LOG_FUNCTION_H

#include "shim.h"

PHP_FUNCTION(phprun_log);
/* In module start-up. `frankenphp`: under its names too. */
void log_function_startup(int module_number, bool frankenphp);

#endif

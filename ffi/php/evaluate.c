/* Running a piece of PHP outside any request, in a child that then ends. */
#include "shim.h"

#include <unistd.h>

void evaluate_to(const char *code, int fd)
{
    volatile int failed = 1;
    zend_first_try {
        if (php_request_startup() == SUCCESS) {
            zval result;
            ZVAL_NULL(&result);
            if (zend_eval_string((char *)code, &result, "phprun") == SUCCESS && Z_TYPE(result) == IS_STRING &&
                write(fd, Z_STRVAL(result), Z_STRLEN(result)) == (ssize_t)Z_STRLEN(result)) {
                failed = 0;
            }
        }
    } zend_end_try();
    _exit(failed);
}

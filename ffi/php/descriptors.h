/* Which descriptors a worker keeps. Knows nothing of PHP. */
#ifndef PHPRUN_DESCRIPTORS_H
#define PHPRUN_DESCRIPTORS_H

#include <stddef.h>

/* Around PHP's start-up: what has been opened between the two is kept. */
void descriptors_before_php(void);
void descriptors_after_php(void);

/* Closes every descriptor but 0–2, those PHP opened while it started, and `also`. */
void descriptors_close_others(const int *also, size_t count);

/* Worker mode: what is open before an application boots; and after it, which workers then keep. Tells of each. */
void descriptors_before_boot(void);
void descriptors_after_boot(void (*tell)(int fd));

#endif

/*
 * A worker keeps the standard descriptors, those PHP opened while it started, and those it is given; all others are
 * closed, also where the kernel has no close_range() and whatever the limit of open files is.
 */
#include "check.h"

#include "../../ffi/php/descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int open_at(int fd)
{
    const int found = open("/dev/null", O_RDWR);
    CHECK(found >= 0, "errno %d", errno);
    if (found != fd) {
        CHECK(dup2(found, fd) == fd, "errno %d", errno);
        close(found);
    }
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static bool is_one_of(int fd, const int *set, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (set[i] == fd) {
            return true;
        }
    }
    return false;
}

/* As a kernel before 5.9 answers, or a sandbox that does not know the call. */
static bool forbid_close_range(void)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof lines / sizeof lines[0], .filter = lines};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void raise_limit(void)
{
    /* As far as root may; else as far as it goes. */
    struct rlimit most = {.rlim_cur = 1u << 30, .rlim_max = 1u << 30};
    struct rlimit now;
    CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0, "errno %d", errno);
    if (setrlimit(RLIMIT_NOFILE, &most) != 0) {
        now.rlim_cur = now.rlim_max;
        CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0, "errno %d", errno);
    }
}

static void run_in_child(bool with_close_range)
{
    const pid_t pid = fork_worker();
    if (pid != 0) {
        int status;
        CHECK(waitpid(pid, &status, 0) == pid, "errno %d", errno);
        CHECK(status == 0, "%s close_range(): %#x", with_close_range ? "with" : "without", status);
        return;
    }
    alarm(20);
    if (!with_close_range && !forbid_close_range()) {
        printf("    cannot take close_range() away here\n");
        _exit(0);
    }
    raise_limit();
    open_at(10);
    open_at(11);
    open_at(900);
    descriptors_before_php();
    close(11);
    open_at(12);
    open_at(13);
    open_at(901);
    descriptors_after_php();
    open_at(3);
    open_at(20);
    open_at(21);
    open_at(1020);
    const int also[] = {21, 3};
    const int kept[] = {0, 1, 2, 3, 12, 13, 21, 901};
    descriptors_close_others(also, 2);
    for (int fd = 0; fd < 1024; fd++) {
        const bool expected = is_one_of(fd, kept, sizeof kept / sizeof kept[0]);
        CHECK(is_open(fd) == expected, "descriptor %d is %s", fd, expected ? "closed" : "open");
    }
    _exit(0);
}

int main(void)
{
    (void)begin_test();
    for (int fd = 0; fd < 3; fd++) {
        if (!is_open(fd)) {
            open_at(fd);
        }
    }
    run_in_child(true);
    run_in_child(false);
    return 0;
}

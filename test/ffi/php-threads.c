/*
 * A host whose workers are threads, with a real PHP, and its front, all in this process: a sanitizer then sees both
 * sides of the shared memory, which has one mapping here. Requests of every kind, mixed; deadlines, clients that
 * leave, looks, measured memory; workers retired and started again all the time. Then one worker is started and ended
 * hundreds of times, and the process must not grow.
 *
 * What is said of libphp itself is left out (see run-c-tests.ts): it is not compiled for a sanitizer.
 */
#include "check.h"

#include "../../ffi/php/php.h"

#include <dirent.h>
#include <semaphore.h>
#include <sys/stat.h>

#define WORKERS 6u
#define SLOTS (WORKERS + 6u)
#define BUFFER_BYTES (16u << 10)
#define STREAM_BYTES 200000u
#define KILL_BYTES (16u << 20)
#define STACK_BYTES (16u << 20)
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define REQUESTS 4000u
#else
#define REQUESTS 12000u
#endif
#define LIVES 500u
/* After which the process has all it will ever have, but for 2 KiB a life: see php-threads-lsan.txt. */
#define FIRST_LIVES 100u
#define MOST_GROWTH_BYTES (2 << 20)
/* Stacks are mapped anew now and then; one of 64 KiB that is forgotten each time is more than this. */
#define MOST_MAPPED_BYTES (18 << 20)
/* A signal may come just before a call that it would have cut short. */
#define DEADLINE_AGAIN_NS 50000000u

/* ---- one mapping for both sides: the linker leads calls of phprun_pool_map() here ------------- */

struct phprun_pool *__real_phprun_pool_map(int32_t fd);
struct phprun_pool *__wrap_phprun_pool_map(int32_t fd);

struct phprun_pool *__wrap_phprun_pool_map(int32_t fd)
{
    static struct phprun_pool *first;
    static struct phprun_pool second;
    if (first == NULL) {
        first = __real_phprun_pool_map(fd);
        return first;
    }
    second = *first;
    return &second;
}

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#include <dlfcn.h>

/* PHP opens its extensions with RTLD_DEEPBIND, which sanitizers do not allow. */
__attribute__((visibility("default"))) void *dlopen(const char *path, int flags)
{
    void *(*const next)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    return next(path, flags & ~RTLD_DEEPBIND);
}
#endif

static void ignore_leaks(bool ignore)
{
#ifdef __SANITIZE_ADDRESS__
    (ignore ? __lsan_disable : __lsan_enable)();
#else
    (void)ignore;
#endif
}

/* ---- the scripts ------------------------------------------------------------------------------ */

struct kind {
    const char *name, *script;
    uint32_t status;
    uint32_t outcome;   /* bits that must be there */
    const char *body;   /* %u: the item. NULL: as `bytes` says */
    size_t bytes;       /* of the body; 0 with no `body`: any */
    uint32_t weight;    /* how often, among others */
    bool is_overdue;    /* it goes on until its deadline */
    bool client_leaves; /* it goes on until its client has gone */
};

#define HEAD PHPRUN_OUTCOME_HEAD
#define FATAL PHPRUN_OUTCOME_FATAL
#define TIMED_OUT PHPRUN_OUTCOME_TIMED_OUT

static const struct kind kinds[] = {
    {.name = "hello", .script = "echo 'hello ', $_SERVER['ITEM'];", .status = 200, .outcome = HEAD, .body = "hello %u",
     .weight = 40},
    {.name = "stream", .script = "for ($i = 0; $i < 200; $i++) { echo str_repeat(chr(65 + $i % 26), 1000); }",
     .status = 200, .outcome = HEAD, .bytes = STREAM_BYTES, .weight = 8},
    {.name = "flush", .script = "echo 'a'; flush(); usleep(300); echo 'b'; flush(); echo 'c';", .status = 200,
     .outcome = HEAD, .body = "abc", .weight = 8},
    {.name = "sleep", .script = "usleep(2000); echo 'slept';", .status = 200, .outcome = HEAD, .body = "slept",
     .weight = 8},
    {.name = "exception", .script = "throw new Exception('as it should');", .status = 500, .outcome = HEAD | FATAL,
     .body = "", .weight = 6},
    {.name = "fatal", .script = "eval('class Twice { function a() {} function a() {} }');", .status = 500,
     .outcome = HEAD | FATAL, .body = "", .weight = 6},
    {.name = "classes",
     .script = "spl_autoload_register(fn ($name) => require __DIR__ . \"/$name.inc\");"
               "class_exists('Gone'); $leaf = new Leaf($_SERVER['ITEM']); echo $leaf;",
     .status = 200, .outcome = HEAD, .body = "leaf %u", .weight = 20},
    {.name = "body", .script = "echo strlen(file_get_contents('php://input')), ' ', count($_POST), filter_input(INPUT_SERVER, 'ITEM');",
     .status = 200, .outcome = HEAD, .body = "11 0%u", .weight = 8},
    {.name = "early", .script = "echo 'early'; fastcgi_finish_request(); usleep(1500); echo 'never';", .status = 200,
     .outcome = HEAD, .body = "early", .weight = 6},
    {.name = "log", .script = "error_log(str_repeat('l', 6000)); error_log('short'); echo 'logged';", .status = 200,
     .outcome = HEAD, .body = "logged", .weight = 6},
    {.name = "own",
     .script = "setlocale(LC_ALL, 'C.UTF-8'); putenv('ITEM_NOW=' . $_SERVER['ITEM']); chdir('below');"
               "ini_set('precision', '5'); echo file_get_contents('text'), basename(getcwd());",
     .status = 200, .outcome = HEAD, .body = "textbelow", .weight = 8},
    {.name = "program", .script = "echo exec('echo program');", .status = 200, .outcome = HEAD, .body = "program",
     .weight = 1},
    {.name = "recursion", .script = "if (!function_exists('down')) { function down($n) { return $n ? array_sum(array_map('down', [$n - 1])) + 1 : 0; } }"
               "echo down(100);",
     .status = 200, .outcome = HEAD, .body = "100", .weight = 4},
    {.name = "busy", .script = "while (true) { hrtime(); }", .status = 500, .outcome = HEAD | FATAL | TIMED_OUT,
     .body = "", .weight = 2, .is_overdue = true},
    {.name = "asleep", .script = "sleep(60); while (true) { usleep(100); }", .status = 500,
     .outcome = HEAD | FATAL | TIMED_OUT, .body = "", .weight = 2, .is_overdue = true},
    {.name = "greedy", .script = "ini_set('memory_limit', -1); while (true) { $all[] = str_repeat('x', 50000 + hrtime()[1] % 2); usleep(20); }",
     .status = 500, .outcome = HEAD | FATAL, .body = "", .weight = 1},
    {.name = "left", .script = "while (true) { echo str_repeat('x', 5000); flush(); }", .status = 200, .outcome = HEAD,
     .weight = 4, .client_leaves = true},
    {.name = "probe", .status = 200, .outcome = HEAD, .body = "ready", .weight = 1},
    {.name = "malformed", .outcome = PHPRUN_OUTCOME_BAD_REQUEST, .body = "", .weight = 2},
};

#define KINDS (sizeof kinds / sizeof kinds[0])

static char folder[] = "/tmp/phprun-threads-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, "%s: errno %d", path, errno);
}

static void write_scripts(void)
{
    CHECK(mkdtemp(folder) != NULL, "errno %d", errno);
    char text[1000];
    for (size_t i = 0; i < KINDS; i++) {
        if (kinds[i].script != NULL) {
            char name[50];
            snprintf(name, sizeof name, "%s.php", kinds[i].name);
            snprintf(text, sizeof text, "<?php %s\n", kinds[i].script);
            write_file(name, text);
        }
    }
    snprintf(text, sizeof text, "%s/below", folder);
    CHECK(mkdir(text, 0700) == 0, "errno %d", errno);
    write_file("below/text", "text");
    write_file("Gone.inc", "<?php interface Gone {}");
    write_file("Twig.inc", "<?php trait Twig { public function __toString(): string { return \"leaf $this->item\"; } }");
    write_file("Leaf.inc", "<?php final class Leaf implements Gone { use Twig; public function __construct(private readonly string $item) {} }");
}

static void remove_all(const char *path)
{
    DIR *listed = opendir(path);
    for (const struct dirent *entry = listed == NULL ? NULL : readdir(listed); entry != NULL; entry = readdir(listed)) {
        if (entry->d_name[0] != '.') {
            char inner[600];
            snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
            remove_all(inner);
        }
    }
    if (listed != NULL) {
        closedir(listed);
    }
    remove(path);
}

/* ---- what a Bun Worker does: start a worker, wait for its end --------------------------------- */

enum news { STARTED, ENDED };

struct keeper {
    pthread_t id;
    uint32_t number;
    sem_t wanted;        /* the front wants the worker */
    _Atomic bool ending; /* or none any more */
    int news_fd;         /* takes a byte for each start and each end */
    uint32_t generation;
};

static uint32_t start_worker(uint32_t number, uint32_t generation, int *life_fd)
{
    int32_t life[2];
    CHECK(phprun_socketpair(life) == 0, "errno %d", errno);
    const int32_t thread = phprun_thread_start(number, generation, life[1]);
    CHECK(thread > 0 && thread != getpid(), "worker %u: %d", number, thread);
    *life_fd = life[0];
    return (uint32_t)thread;
}

/* A byte, then the end of file; later when a program that a script starts has not become another one yet. */
static void await_end(uint32_t number, int life_fd, int patience_ms)
{
    char byte;
    ssize_t got;
    size_t bytes = 0;
    do {
        struct pollfd end = {.fd = life_fd, .events = POLLIN};
        CHECK(poll(&end, 1, patience_ms) == 1, "worker %u does not end", number);
        got = read(life_fd, &byte, 1);
        bytes += got > 0 ? 1 : 0;
    } while (got > 0);
    CHECK(got == 0 && bytes == 1, "worker %u ended with %zu bytes", number, bytes);
    phprun_thread_join(number);
    close(life_fd);
}

static void tell(const struct keeper *keeper, enum news news)
{
    const uint8_t byte = (uint8_t)(keeper->number << 1 | news);
    CHECK(write(keeper->news_fd, &byte, 1) == 1, "errno %d", errno);
}

static void *keep(void *argument)
{
    struct keeper *keeper = argument;
    for (;;) {
        while (sem_wait(&keeper->wanted) != 0) {
        }
        if (atomic_load(&keeper->ending)) {
            return NULL;
        }
        int life_fd;
        start_worker(keeper->number, ++keeper->generation, &life_fd);
        tell(keeper, STARTED);
        await_end(keeper->number, life_fd, -1);
        tell(keeper, ENDED);
    }
}

/* ---- other threads of a host and its front ---------------------------------------------------- */

static _Atomic bool ending;
static _Atomic uint32_t log_records, slow_records;

static void *measure(void *unused)
{
    while (!atomic_load(&ending)) {
        phprun_threads_measure();
        usleep(3000);
    }
    return unused;
}

/* Records must be whole and of those that there are. */
static void *read_log(void *argument)
{
    const int fd = *(const int *)argument;
    static uint8_t bytes[1 << 16];
    size_t held = 0;
    for (;;) {
        struct pollfd news = {.fd = fd, .events = POLLIN};
        poll(&news, 1, -1);
        const ssize_t got = read(fd, bytes + held, sizeof bytes - held);
        if (got == 0) {
            return NULL;
        }
        held += got > 0 ? (size_t)got : 0;
        size_t at = 0;
        for (uint32_t length = 0; held - at >= sizeof length; at += sizeof length + length) {
            memcpy(&length, bytes + at, sizeof length);
            CHECK(length >= 14 && length <= 4092, "a log record of %u bytes", length);
            if (held - at < sizeof length + length) {
                break;
            }
            uint16_t level;
            memcpy(&level, bytes + at + sizeof length, sizeof level);
            CHECK(level <= 5, "a log record of level %u", level);
            atomic_fetch_add(&log_records, 1);
            atomic_fetch_add(&slow_records, level == 4);
            if (getenv("PHPRUN_TEST_LOG") != NULL) {
                fprintf(stderr, "log %u: %.*s\n", level, (int)length - 14, bytes + at + 18);
            }
        }
        memmove(bytes, bytes + at, held - at);
        held -= at;
    }
}

/* ---- the front -------------------------------------------------------------------------------- */

struct asked {
    const struct kind *kind; /* NULL: the slot is free */
    uint32_t item;
    char body[64]; /* as far as there is room for it */
    size_t bytes;
    uint32_t read_at;
    uint64_t began_ns;     /* first seen in a worker */
    uint64_t signalled_ns; /* last */
    uint64_t due_ns;       /* how long after `began_ns` */
    bool has_left;
};

struct front {
    struct stage stage;
    struct chance chance;
    struct asked asked[SLOTS];
    int news_fd; /* of the keepers */
    struct keeper keepers[WORKERS];
    bool is_up[WORKERS]; /* and not asked to end */
    uint32_t running, submitted, answered, restarts, withdrawn;
    uint32_t of_kind[KINDS];
    uint64_t overdue_ns, overdue_most_ns; /* from the first signal to the answer */
};

static char *add_value(char *at, const char *value)
{
    const size_t bytes = strlen(value) + 1;
    memcpy(at, value, bytes);
    return at + bytes;
}

static void fill_slot(struct front *front, uint32_t slot, const struct kind *kind, uint32_t item)
{
    struct phprun_pool *pool = front->stage.pool;
    struct phprun_slot *s = &pool->slots[slot];
    static const char posted[] = "hello=world";
    char script[200], text[20];
    snprintf(script, sizeof script, "%s/%s.php", folder, kind->name);
    snprintf(text, sizeof text, "%u", item);
    const bool has_body = strcmp(kind->name, "body") == 0;
    const char *const fields[FIELD_COUNT] = {
        [FIELD_REQUEST_METHOD] = has_body ? "PUT" : "GET",
        [FIELD_REQUEST_URI] = "/",
        [FIELD_SCRIPT_FILENAME] = script,
        [FIELD_SCRIPT_NAME] = script + strlen(folder),
        [FIELD_DOCUMENT_ROOT] = folder,
        [FIELD_SERVER_PROTOCOL] = "HTTP/1.1",
        [FIELD_HTTP_HOST] = "localhost",
    };
    char *const block = (char *)phprun_request_buffer(pool, slot);
    char *at = block;
    for (uint32_t field = 0; field < FIELD_COUNT; field++) {
        at = add_value(at, fields[field] != NULL ? fields[field] : "");
    }
    at = add_value(add_value(at, "ITEM"), text);
    __atomic_store_n(&s->id, item + 1, __ATOMIC_RELAXED); /* read when a worker is asked where it is */
    s->block_bytes = (uint32_t)(at - block);
    s->block_values = FIELD_COUNT + (strcmp(kind->name, "malformed") == 0 ? 3 : 2);
    s->body_inline = 1;
    s->body_offset = s->block_bytes;
    s->body_bytes = has_body ? sizeof posted - 1 : 0;
    s->options = strcmp(kind->name, "probe") == 0 ? PHPRUN_REQUEST_PROBE : 0;
    memcpy(at, posted, sizeof posted);
}

static const struct kind *choose_kind(struct front *front)
{
    uint32_t all = 0;
    for (size_t i = 0; i < KINDS; i++) {
        all += kinds[i].weight;
    }
    uint32_t choice = below(&front->chance, all);
    for (size_t i = 0;; i++) {
        if (choice < kinds[i].weight) {
            return &kinds[i];
        }
        choice -= kinds[i].weight;
    }
}

/* False when the ring is full of requests that were withdrawn. */
static bool ask(struct front *front, uint32_t slot, const struct kind *kind)
{
    const uint32_t item = front->submitted;
    front->asked[slot] = (struct asked){
        .kind = kind, .item = item, .due_ns = (uint64_t)below(&front->chance, 20) * 1000000};
    fill_slot(front, slot, kind, item);
    const int32_t result = phprun_submit(front->stage.pool, slot);
    CHECK(result == 0 || result == -EAGAIN, "slot %u: %d", slot, result);
    if (result != 0) {
        front->asked[slot].kind = NULL;
        return false;
    }
    front->submitted++;
    front->of_kind[kind - kinds]++;
    return true;
}

static void submit_some(struct front *front)
{
    bool any = false;
    for (uint32_t slot = 0; slot < SLOTS && front->submitted < REQUESTS; slot++) {
        if (front->asked[slot].kind == NULL && ask(front, slot, choose_kind(front))) {
            any = true;
        }
    }
    if (any) {
        phprun_wake_one_worker(front->stage.pool);
    }
}

static void take_body(struct front *front, uint32_t slot)
{
    struct asked *asked = &front->asked[slot];
    const struct phprun_slot *s = &front->stage.pool->slots[slot];
    const uint8_t *ring = phprun_response_buffer(front->stage.pool, slot) + s->body_at;
    const bool is_stream = asked->kind->bytes == STREAM_BYTES;
    for (uint32_t left = s->seen_used; left > 0; left--) {
        const char c = (char)ring[asked->read_at];
        if (asked->bytes < sizeof asked->body - 1) {
            asked->body[asked->bytes] = c;
        }
        CHECK(!is_stream || c == (char)('A' + asked->bytes / 1000 % 26), "byte %zu is %c", asked->bytes, c);
        asked->bytes++;
        asked->read_at = (asked->read_at + 1) % s->body_size;
    }
    phprun_consume(front->stage.pool, slot, s->seen_used);
}

static void check_answer(const struct front *front, uint32_t slot)
{
    const struct asked *asked = &front->asked[slot];
    const struct kind *kind = asked->kind;
    const struct phprun_slot *s = &front->stage.pool->slots[slot];
    char expected[64] = "";
    CHECK((s->seen_outcome & ~PHPRUN_OUTCOME_TRUNCATED) == kind->outcome ||
              (kind->client_leaves && s->seen_outcome == PHPRUN_OUTCOME_NOT_RUN),
          "%s: outcome %u", kind->name, s->seen_outcome);
    CHECK(s->status == kind->status || s->seen_outcome == PHPRUN_OUTCOME_NOT_RUN, "%s: status %u", kind->name,
          s->status);
    if (kind->body != NULL) {
        snprintf(expected, sizeof expected, kind->body, asked->item);
        CHECK(strcmp(asked->body, expected) == 0, "%s: \"%s\" and not \"%s\"", kind->name, asked->body, expected);
    }
    CHECK(kind->bytes == 0 || asked->bytes == kind->bytes, "%s: %zu bytes", kind->name, asked->bytes);
}

static void hear(struct front *front, uint32_t slot)
{
    struct asked *asked = &front->asked[slot];
    const struct phprun_slot *s = &front->stage.pool->slots[slot];
    if (asked->kind == NULL) {
        return; /* late news */
    }
    if (s->seen_outcome & HEAD && s->seen_used > 0) {
        take_body(front, slot);
    }
    if (s->seen_phase != PHPRUN_ENDED) {
        return;
    }
    check_answer(front, slot);
    if (asked->signalled_ns != 0) {
        const uint64_t took = phprun_now_ns() - asked->began_ns - asked->due_ns;
        front->overdue_ns += took;
        front->overdue_most_ns = took > front->overdue_most_ns ? took : front->overdue_most_ns;
    }
    asked->kind = NULL;
    phprun_release(front->stage.pool, slot);
    front->answered++;
}

static void drain(struct front *front)
{
    struct phprun_pool *pool = front->stage.pool;
    phprun_begin_drain(pool);
    for (int32_t slot = phprun_next_completed(pool); slot >= 0; slot = phprun_next_completed(pool)) {
        hear(front, (uint32_t)slot);
    }
}

/* What is due for the requests that a worker has. */
static void look_after(struct front *front, uint32_t slot)
{
    struct asked *asked = &front->asked[slot];
    struct phprun_pool *pool = front->stage.pool;
    const uint32_t claim = atomic_load(&pool->slots[slot].claim);
    if (asked->kind == NULL || PHPRUN_PHASE(claim) != PHPRUN_RUNNING) {
        return;
    }
    const uint64_t now = phprun_now_ns();
    if (asked->began_ns == 0) {
        asked->began_ns = now;
    }
    if (below(&front->chance, 50) == 0) {
        phprun_worker_look(pool, PHPRUN_OWNER(claim), asked->item + 1);
    }
    if (now - asked->began_ns < asked->due_ns) {
        return;
    }
    if (asked->kind->is_overdue && now - asked->signalled_ns > DEADLINE_AGAIN_NS) {
        asked->signalled_ns = now;
        phprun_deadline(pool, slot);
        phprun_thread_deadline(PHPRUN_OWNER(claim));
    }
    if (asked->kind->client_leaves && !asked->has_left) {
        asked->has_left = true;
        phprun_client_gone(pool, slot);
    }
    /* One that is not overdue gets a signal now and then: the mark in the slot decides. */
    if (below(&front->chance, 200) == 0) {
        phprun_thread_deadline(PHPRUN_OWNER(claim));
    }
}

static void retire_one(struct front *front)
{
    const uint32_t number = below(&front->chance, WORKERS);
    if (front->is_up[number]) {
        front->is_up[number] = false;
        phprun_worker_retire(front->stage.pool, number);
    }
}

/* A worker that has ended is started again, while there is work. */
static void bury(struct front *front, uint32_t number)
{
    drain(front);
    CHECK(phprun_worker_bury(front->stage.pool, number) == -1, "worker %u left a request", number);
    drain(front);
    phprun_resubmit_orphans(front->stage.pool);
    front->running--;
    if (front->answered < REQUESTS) {
        front->running++;
        front->restarts++;
        sem_post(&front->keepers[number].wanted);
    }
}

static void hear_of_workers(struct front *front)
{
    uint8_t bytes[WORKERS];
    const ssize_t got = read(front->news_fd, bytes, sizeof bytes);
    for (ssize_t i = 0; i < got; i++) {
        const uint32_t number = bytes[i] >> 1;
        front->is_up[number] = (bytes[i] & 1) == STARTED;
        if (!front->is_up[number]) {
            bury(front, number);
        }
    }
}

static void withdraw_one(struct front *front)
{
    const uint32_t slot = below(&front->chance, SLOTS);
    struct asked *asked = &front->asked[slot];
    if (asked->kind != NULL && phprun_withdraw(front->stage.pool, slot)) {
        asked->kind = NULL;
        front->withdrawn++;
        front->answered++;
    }
}

static void print_front(const struct front *front)
{
    print_stage(&front->stage);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const struct asked *asked = &front->asked[slot];
        if (asked->kind != NULL) {
            fprintf(stderr, "slot %u: %s, item %u, %zu bytes, flags %u, %.0f ms\n", slot, asked->kind->name, asked->item,
                    asked->bytes, atomic_load(&front->stage.pool->slots[slot].flags),
                    asked->began_ns == 0 ? -1.0 : seconds_since(asked->began_ns) * 1000);
        }
    }
    for (uint32_t number = 0; number < WORKERS; number++) {
        const struct phprun_worker *worker = &front->stage.pool->workers[number];
        fprintf(stderr, "worker %u: %s, state %u slot %u retire %u wake %u\n", number,
                front->is_up[number] ? "up" : "not up", atomic_load(&worker->state), atomic_load(&worker->slot),
                atomic_load(&worker->retire), atomic_load(&worker->wake));
    }
    if (getenv("PHPRUN_TEST_STOP") != NULL) {
        raise(SIGSTOP); /* for a debugger */
    }
}

static void drive(struct front *front)
{
    uint64_t last_answer = phprun_now_ns();
    while (front->answered < REQUESTS) {
        const uint32_t before = front->answered - front->withdrawn;
        submit_some(front);
        struct pollfd news[] = {{.fd = front->stage.front_fd, .events = POLLIN},
                                {.fd = front->news_fd, .events = POLLIN}};
        poll(news, 2, 1);
        char bytes[256];
        while (read(front->stage.front_fd, bytes, sizeof bytes) > 0) {
        }
        drain(front);
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            look_after(front, slot);
        }
        if (below(&front->chance, 20) == 0) {
            retire_one(front);
        }
        if (below(&front->chance, 30) == 0) {
            withdraw_one(front);
        }
        hear_of_workers(front);
        if (front->answered - front->withdrawn != before) {
            last_answer = phprun_now_ns();
        } else if (seconds_since(last_answer) * 1000 > 2 * PATIENCE_MS) {
            print_front(front);
            CHECK(false, "no answer for %d ms", 2 * PATIENCE_MS);
        }
    }
}

/* ---- the two parts ---------------------------------------------------------------------------- */

static void serve_mixed_load(struct front *front)
{
    int32_t news[2];
    pthread_t measuring;
    CHECK(phprun_socketpair(news) == 0, "errno %d", errno);
    front->news_fd = news[0];
    CHECK(pthread_create(&measuring, NULL, measure, NULL) == 0, "errno %d", errno);
    for (uint32_t number = 0; number < WORKERS; number++) {
        struct keeper *keeper = &front->keepers[number];
        *keeper = (struct keeper){.number = number, .news_fd = news[1]};
        sem_init(&keeper->wanted, 0, 1);
        CHECK(pthread_create(&keeper->id, NULL, keep, keeper) == 0, "errno %d", errno);
        front->running++;
    }
    const uint64_t began = phprun_now_ns();
    drive(front);
    const double seconds = seconds_since(began);

    while (front->running > 0) {
        for (uint32_t number = 0; number < WORKERS; number++) {
            if (front->is_up[number]) {
                phprun_worker_retire(front->stage.pool, number);
            }
        }
        struct pollfd news_of_workers = {.fd = front->news_fd, .events = POLLIN};
        CHECK(poll(&news_of_workers, 1, PATIENCE_MS) == 1, "%u workers do not end", front->running);
        hear_of_workers(front);
    }
    for (uint32_t number = 0; number < WORKERS; number++) {
        atomic_store(&front->keepers[number].ending, true);
        sem_post(&front->keepers[number].wanted);
        pthread_join(front->keepers[number].id, NULL);
    }
    atomic_store(&ending, true);
    pthread_join(measuring, NULL);
    close(news[0]);
    close(news[1]);

    printf("    %u requests (%u withdrawn) in %.1f s, %u restarts, %u log records, %u places told\n", front->answered,
           front->withdrawn, seconds, front->restarts, atomic_load(&log_records), atomic_load(&slow_records));
    for (size_t i = 0; i < KINDS; i++) {
        printf("%s%s %u", i % 10 == 0 ? "    " : ", ", kinds[i].name, front->of_kind[i]);
        printf("%s", i % 10 == 9 || i == KINDS - 1 ? "\n" : "");
    }
    const uint32_t overdue = front->of_kind[13] + front->of_kind[14];
    printf("    deadlines: %.1f ms after they had passed, at most %.1f ms\n",
           (double)front->overdue_ns / 1e6 / (overdue == 0 ? 1 : overdue), (double)front->overdue_most_ns / 1e6);
}

/* What the process holds. */
struct holdings {
    long resident_bytes, mapped_bytes;
    uint32_t descriptors, threads;
};

static uint32_t count_entries(const char *path)
{
    uint32_t count = 0;
    DIR *listed = opendir(path);
    CHECK(listed != NULL, "%s: errno %d", path, errno);
    while (readdir(listed) != NULL) {
        count++;
    }
    closedir(listed);
    return count;
}

static struct holdings holdings(void)
{
    struct holdings now;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld %ld", &now.mapped_bytes, &now.resident_bytes) == 2, "errno %d", errno);
    fclose(file);
    now.mapped_bytes *= sysconf(_SC_PAGESIZE);
    now.resident_bytes *= sysconf(_SC_PAGESIZE);
    now.descriptors = count_entries("/proc/self/fd");
    now.threads = count_entries("/proc/self/task");
    return now;
}

/* One request, then the end. */
static void live(struct front *front, uint32_t generation)
{
    int life_fd;
    start_worker(0, generation, &life_fd);
    CHECK(ask(front, 0, &kinds[generation % 2 == 0 ? 0 : 6]), "life %u", generation);
    phprun_wake_one_worker(front->stage.pool);
    const uint32_t before = front->answered;
    while (front->answered == before) {
        await_wake_up(&front->stage, PATIENCE_MS);
        drain(front);
    }
    phprun_worker_retire(front->stage.pool, 0);
    await_end(0, life_fd, PATIENCE_MS);
    drain(front);
    CHECK(phprun_worker_bury(front->stage.pool, 0) == -1, "life %u left a request", generation);
}

static void live_often(struct front *front)
{
    struct holdings first = {0};
    const uint32_t lives = EFFORT(LIVES) < 2 * FIRST_LIVES ? 2 * FIRST_LIVES : LIVES;
    const uint64_t began = phprun_now_ns();
    for (uint32_t life = 1; life <= lives; life++) {
        live(front, life);
        if (life == FIRST_LIVES) {
            first = holdings();
        }
    }
    const double seconds = seconds_since(began);
    const struct holdings last = holdings();
    const long growth = last.resident_bytes - first.resident_bytes;
    const long mapped = last.mapped_bytes - first.mapped_bytes;
    printf("    %u lives of a worker, %.2f ms each; since life %u grown by %ld KiB, mapped %ld KiB\n", lives,
           seconds * 1000 / lives, FIRST_LIVES, growth / 1024, mapped / 1024);
    CHECK(last.descriptors == first.descriptors, "%u descriptors, then %u", first.descriptors, last.descriptors);
    CHECK(last.threads == first.threads, "%u threads, then %u", first.threads, last.threads);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) /* they keep what has been freed */
    CHECK(growth < MOST_GROWTH_BYTES, "%ld bytes", growth);
    CHECK(mapped < MOST_MAPPED_BYTES, "%ld bytes", mapped);
#endif
}

#ifdef WORKER_MODE
/* The scripts are run by one that has booted. A fatal error in them then ends their worker. */
static void boot_once(void)
{
    char script[200];
    write_file("worker.php", "<?php while (phprun_handle_request(function () { include $_SERVER['SCRIPT_FILENAME']; })) {}");
    snprintf(script, sizeof script, "%s/worker.php", folder);
    phprun_app_configure(script, "/worker.php", folder,
                         PHPRUN_APP_RESET_INI | PHPRUN_APP_RESET_ENV | PHPRUN_APP_RESET_CWD | PHPRUN_APP_RESET_HANDLERS |
                             PHPRUN_APP_RESET_TIMEZONE | PHPRUN_APP_RESET_LOCALE);
}
#endif

int main(void)
{
    static struct front front;
    front.chance = begin_test();
    front.stage = make_stage(SLOTS, WORKERS, BUFFER_BYTES, 0);
    write_scripts();

    int32_t log[2];
    pthread_t logging;
    CHECK(phprun_socketpair(log) == 0, "errno %d", errno);
    CHECK(pthread_create(&logging, NULL, read_log, &log[0]) == 0, "errno %d", errno);
    /* What PHP keeps for good is in part found only from opcache's memory, where leaks are not looked for. */
    ignore_leaks(true);
    CHECK(phprun_php_start("opcache.enable=1\nopcache.validate_timestamps=1\nopcache.revalidate_freq=0\n", "phprun",
                           "threads", PHPRUN_PHP_THREADS, log[1]) == 0,
          "PHP does not start");
    ignore_leaks(false);
    CHECK(phprun_threads_open(front.stage.fd, front.stage.worker_fd, -1, PHPRUN_HOST_SLOW_LOG, STACK_BYTES) == 0,
          "errno %d", errno);
    phprun_set_memory_kill(front.stage.pool, KILL_BYTES);
#ifdef WORKER_MODE
    boot_once();
#endif

    serve_mixed_load(&front);
    live_often(&front);

    close(log[1]);
    pthread_join(logging, NULL);
    close(log[0]);
    remove_all(folder);
    return 0;
}

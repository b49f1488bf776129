/*
 * Workers that die or stop at the worst moment. Whatever they were doing: every submitted item is answered once or
 * reported lost once, never run twice, and every worker that lives can still be reached.
 *
 * The test is the front and the host: it forks the workers, reaps them, and does what src/pool/pool.ts does after
 * a death: drain, bury, drain, start another, resubmit orphans.
 */
#include "check.h"

#define WORKERS 4u
#define SLOTS 12u
#define RING_BYTES 512u /* of a body; longer ones make the writer wait */

struct request {
    uint64_t item, check;
    uint32_t body_bytes;
    uint32_t ends_after; /* so many meeting workers have to have come; 0: does not wait */
};

static struct shared {
    _Atomic uint32_t runs[SLOTS];
    _Atomic uint32_t met;
    _Atomic uint64_t last_item; /* that was begun */
    /* One planned death or stop. */
    _Atomic int armed;
    uint32_t victim;
    int signal;
    char point[32];
    /* Unplanned deaths: one in so many passages of a point; 0: none. */
    _Atomic uint32_t death_in;
} *shared;

/* ---- worker ---------------------------------------------------------------------------------- */

static uint32_t self = PHPRUN_NONE;
static struct chance own_chance;

/* What the front does when it has found an orphan and not yet submitted it again. */
static void (*front_hook)(void);

/* Called by the transport, see ffi/transport/points.h. */
void phprun_at_point(const char *name);
void phprun_at_point(const char *name)
{
    if (self == PHPRUN_NONE) {
        if (front_hook != NULL && strcmp(name, "found an orphan") == 0) {
            front_hook();
        }
        return; /* the front dies at no point */
    }
    const uint32_t death_in = atomic_load(&shared->death_in);
    if (death_in != 0 && below(&own_chance, death_in) == 0) {
        kill(getpid(), SIGKILL);
    }
    if (atomic_load(&shared->armed) && shared->victim == self && strcmp(shared->point, name) == 0 &&
        atomic_exchange(&shared->armed, 0)) {
        kill(getpid(), shared->signal);
    }
}

static void run_item(struct phprun_pool *pool, uint32_t slot)
{
    struct phprun_slot *s = &pool->slots[slot];
    const struct request *request = (const struct request *)phprun_request_buffer(pool, slot);
    const uint64_t item = request->item;
    CHECK(request->check == mix(item), "item %llu in slot %u", (unsigned long long)item, slot);
    CHECK(atomic_fetch_add(&shared->runs[slot], 1) == 0, "item %llu runs twice", (unsigned long long)item);
    atomic_store(&shared->last_item, item);
    if (request->ends_after != 0) {
        atomic_fetch_add(&shared->met, 1);
        while (atomic_load(&shared->met) < request->ends_after) {
            usleep(20);
        }
    }
    s->status = 200;
    s->body_at = 64;
    s->body_size = RING_BYTES;
    s->ended_ns = item;
    atomic_store(&s->outcome, PHPRUN_OUTCOME_HEAD);
    uint8_t body[RING_BYTES * 3];
    memset(body, (int)(item & 0xff), sizeof body);
    CHECK(phprun_body_write(pool, slot, body, request->body_bytes) == 0, "slot %u", slot);
    phprun_finish(pool, slot, self, PHPRUN_ENDED);
}

static __attribute__((noreturn)) void work(const struct stage *stage, uint32_t number, uint64_t seed)
{
    struct phprun_pool *pool = map_in_child(stage);
    self = number;
    own_chance = (struct chance){.state = seed | 1};
    for (int32_t slot; (slot = phprun_worker_take(pool, number)) >= 0;) {
        run_item(pool, (uint32_t)slot);
    }
    _exit(0);
}

/* ---- front ----------------------------------------------------------------------------------- */

struct front {
    struct stage stage;
    struct chance chance;
    pid_t pids[WORKERS]; /* 0: not running */
    struct {
        bool busy;
        uint64_t item;
        uint32_t received;
    } slots[SLOTS];
    uint64_t submitted, answered, lost, resubmitted, deaths;
};

static void spawn(struct front *front, uint32_t number)
{
    const uint64_t seed = next_random(&front->chance);
    phprun_worker_prepare(front->stage.pool, number, 1);
    front->pids[number] = fork_worker();
    if (front->pids[number] == 0) {
        work(&front->stage, number, seed);
    }
}

static bool submit_one(struct front *front, uint32_t body_bytes, uint32_t ends_after)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (!front->slots[slot].busy) {
            const uint64_t item = front->submitted++;
            front->slots[slot].busy = true;
            front->slots[slot].item = item;
            front->slots[slot].received = 0;
            atomic_store(&shared->runs[slot], 0);
            *(struct request *)phprun_request_buffer(front->stage.pool, slot) = (struct request){
                .item = item, .check = mix(item), .body_bytes = body_bytes, .ends_after = ends_after};
            CHECK(phprun_submit(front->stage.pool, slot) == 0, "slot %u", slot);
            return true;
        }
    }
    return false;
}

static void release(struct front *front, uint32_t slot)
{
    front->slots[slot].busy = false;
    phprun_release(front->stage.pool, slot);
}

static void drain(struct front *front)
{
    struct phprun_pool *pool = front->stage.pool;
    phprun_begin_drain(pool);
    for (int32_t next = phprun_next_completed(pool); next >= 0; next = phprun_next_completed(pool)) {
        const uint32_t slot = (uint32_t)next;
        const struct phprun_slot *s = &pool->slots[slot];
        if (!front->slots[slot].busy || !(s->seen_outcome & PHPRUN_OUTCOME_HEAD)) {
            continue; /* late news of the item before */
        }
        const struct request *request = (const struct request *)phprun_request_buffer(pool, slot);
        front->slots[slot].received += s->seen_used;
        phprun_consume(pool, slot, s->seen_used);
        if (s->seen_phase == PHPRUN_ENDED) {
            CHECK(s->ended_ns == front->slots[slot].item, "slot %u", slot);
            CHECK(front->slots[slot].received == request->body_bytes, "slot %u has %u of %u bytes", slot,
                  front->slots[slot].received, request->body_bytes);
            CHECK(atomic_load(&shared->runs[slot]) == 1, "slot %u ran %u times", slot,
                  atomic_load(&shared->runs[slot]));
            front->answered++;
            release(front, slot);
        }
    }
}

/* As Pool.#bury() and what follows it. */
static void bury(struct front *front, uint32_t number)
{
    front->pids[number] = 0;
    front->deaths++;
    drain(front);
    const int32_t slot = phprun_worker_bury(front->stage.pool, number);
    drain(front);
    if (slot >= 0) {
        CHECK(front->slots[slot].busy, "slot %d was not submitted", slot);
        CHECK(atomic_load(&shared->runs[slot]) <= 1, "slot %d", slot);
        front->lost++;
        release(front, (uint32_t)slot);
    }
}

static void resubmit(struct front *front)
{
    front->resubmitted += (uint32_t)phprun_resubmit_orphans(front->stage.pool);
}

static uint32_t reap(struct front *front)
{
    uint32_t count = 0;
    for (uint32_t number = 0; number < WORKERS; number++) {
        int status;
        if (front->pids[number] != 0 && waitpid(front->pids[number], &status, WNOHANG) > 0) {
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "worker %u ended with %#x", number, status);
            bury(front, number);
            count++;
        }
    }
    return count;
}

static void await_rest(struct front *front)
{
    while (front->answered + front->lost < front->submitted) {
        await_wake_up(&front->stage, PATIENCE_MS);
        drain(front);
    }
}

/* As many items at once as there are workers: one that cannot be woken any more would be missed. */
static void meet(struct front *front)
{
    uint32_t alive = 0;
    for (uint32_t number = 0; number < WORKERS; number++) {
        alive += front->pids[number] != 0;
    }
    const uint64_t lost = front->lost;
    atomic_store(&shared->met, 0);
    for (uint32_t i = 0; i < alive; i++) {
        CHECK(submit_one(front, 0, alive), "no free slot");
    }
    phprun_wake_one_worker(front->stage.pool);
    await_rest(front);
    CHECK(front->lost == lost, "a worker died");
}

static struct front begin(struct chance *chance, uint32_t start)
{
    struct front front = {.chance = {.state = next_random(chance) | 1}};
    memset(shared, 0, sizeof *shared);
    front.stage = make_stage(SLOTS, WORKERS, 4096, start);
    for (uint32_t number = 0; number < WORKERS; number++) {
        spawn(&front, number);
    }
    meet(&front);
    return front;
}

static void end(struct front *front)
{
    for (uint32_t number = 0; number < WORKERS; number++) {
        int status;
        if (front->pids[number] != 0) {
            phprun_worker_retire(front->stage.pool, number);
            CHECK(waitpid(front->pids[number], &status, 0) > 0 && status == 0, "worker %u: %#x", number, status);
        }
    }
    const struct phprun_header *header = front->stage.pool->header;
    CHECK(atomic_load(&header->head) == atomic_load(&header->tail), "the ring is not empty");
    CHECK(atomic_load(&header->sleeping[0]) == 0, "somebody left asleep");
    CHECK(front->answered + front->lost == front->submitted, "%llu of %llu",
          (unsigned long long)(front->answered + front->lost), (unsigned long long)front->submitted);
    strike_stage(&front->stage);
}

static void arm(uint32_t victim, int signal, const char *point)
{
    shared->victim = victim;
    shared->signal = signal;
    snprintf(shared->point, sizeof shared->point, "%s", point);
    atomic_store(&shared->armed, 1);
}

static bool is_asleep(const struct front *front, uint32_t number)
{
    return (atomic_load(&front->stage.pool->header->sleeping[0]) >> number) & 1;
}

/* Dead, and not reaped yet. */
static bool is_dead(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

/* Waits until all workers from `first` on sleep or are dead. */
static void await_sleep(const struct front *front, uint32_t first)
{
    for (uint32_t number = first; number < WORKERS; number++) {
        while (front->pids[number] != 0 && !is_asleep(front, number) && !is_dead(front->pids[number])) {
            usleep(20);
        }
    }
}

/* ---- a death at each point ------------------------------------------------------------------- */

static const char *const points[] = {
    "found nothing", "popped", "claimed", "owing a wake-up", "copied", "waiting for room", "ended", "reported",
    "signaled", "lying down", "getting up",
};

static void die_at(struct chance *chance, const char *point, uint32_t start)
{
    struct front front = begin(chance, start);
    /* Which point is passed depends on who sleeps: several tries bring the victim to each. */
    arm(0, SIGKILL, point);
    const uint64_t began = phprun_now_ns();
    while (reap(&front) == 0) {
        CHECK(seconds_since(began) < PATIENCE_MS / 1000, "the worker never came to \"%s\"", point);
        if (front.answered + front.lost == front.submitted) {
            await_sleep(&front, 0);
            for (uint32_t i = 0; i < WORKERS; i++) {
                submit_one(&front, RING_BYTES * 2, 0);
            }
            phprun_wake_one_worker(front.stage.pool);
        }
        struct pollfd news = {.fd = front.stage.front_fd, .events = POLLIN};
        poll(&news, 1, 1);
        if (news.revents != 0) {
            await_wake_up(&front.stage, 0);
        }
        drain(&front);
    }
    CHECK(front.deaths == 1, "%llu deaths", (unsigned long long)front.deaths);
    resubmit(&front);
    await_rest(&front);
    meet(&front); /* those that are left */
    spawn(&front, 0);
    meet(&front);
    CHECK(front.lost <= 1, "%llu lost", (unsigned long long)front.lost);
    end(&front);
}

/* ---- deaths at random ------------------------------------------------------------------------ */

static void die_at_random(struct chance *chance, uint64_t deaths)
{
    struct front front = begin(chance, 0u - 20000u);
    const uint64_t began = phprun_now_ns();
    uint64_t progress = 0, progress_ns = began;
    atomic_store(&shared->death_in, 1500);
    while (front.deaths < deaths) {
        for (uint32_t burst = below(&front.chance, SLOTS + 1); burst > 0; burst--) {
            submit_one(&front, below(&front.chance, 3) == 0 ? below(&front.chance, RING_BYTES * 3) : 0, 0);
        }
        phprun_wake_one_worker(front.stage.pool);
        struct pollfd news = {.fd = front.stage.front_fd, .events = POLLIN};
        if (poll(&news, 1, 2) > 0) {
            await_wake_up(&front.stage, 0);
        }
        drain(&front);
        if (below(&front.chance, 30) == 0) {
            const uint32_t number = below(&front.chance, WORKERS);
            if (front.pids[number] != 0) {
                kill(front.pids[number], SIGKILL);
            }
        }
        /* Not at once: several may lie dead, and requests be handed to them. */
        if (below(&front.chance, 4) == 0 && reap(&front) > 0) {
            for (uint32_t number = 0; number < WORKERS; number++) {
                if (front.pids[number] == 0) {
                    spawn(&front, number);
                }
            }
            resubmit(&front);
        }
        if (front.answered + front.deaths != progress) {
            progress = front.answered + front.deaths;
            progress_ns = phprun_now_ns();
        }
        if (seconds_since(progress_ns) > PATIENCE_MS / 1000) {
            print_stage(&front.stage);
            CHECK(false, "no progress");
        }
    }
    const double seconds = seconds_since(began);

    atomic_store(&shared->death_in, 0);
    /* Those killed in the last moment are not reaped yet. */
    for (uint64_t until = phprun_now_ns() + 50000000; phprun_now_ns() < until; usleep(1000)) {
        drain(&front);
        reap(&front);
    }
    resubmit(&front);
    for (uint32_t number = 0; number < WORKERS; number++) {
        if (front.pids[number] == 0) {
            spawn(&front, number);
        }
    }
    await_rest(&front);
    meet(&front);
    printf("    %llu deaths, %.0f a second: %llu items answered (%.0f/s), %llu lost, %llu submitted again\n",
           (unsigned long long)front.deaths, (double)front.deaths / seconds, (unsigned long long)front.answered,
           (double)front.answered / seconds, (unsigned long long)front.lost, (unsigned long long)front.resubmitted);
    end(&front);
}

/* ---- a worker that stops and comes back ------------------------------------------------------ */

static void await_stop(struct front *front, uint32_t number)
{
    int status = 0;
    CHECK(waitpid(front->pids[number], &status, WUNTRACED) > 0 && WIFSTOPPED(status), "worker %u: %#x", number, status);
}

static void stop_all_but(struct front *front, uint32_t number)
{
    for (uint32_t other = 0; other < WORKERS; other++) {
        if (other != number) {
            kill(front->pids[other], SIGSTOP);
            await_stop(front, other);
        }
    }
}

static void go_on(struct front *front)
{
    for (uint32_t number = 0; number < WORKERS; number++) {
        kill(front->pids[number], SIGCONT);
    }
}

/* Brings worker 0 to `point` with one item and leaves it stopped there. */
static void stop_at(struct front *front, const char *point, uint32_t body_bytes)
{
    await_sleep(front, 0);
    arm(0, SIGSTOP, point);
    submit_one(front, body_bytes, 0);
    phprun_wake_one_worker(front->stage.pool); /* the lowest number: worker 0 */
    await_stop(front, 0);
}

static void taken_by_another(struct chance *chance)
{
    struct front front = begin(chance, 0u - 2u);
    stop_at(&front, "popped", 0);
    CHECK(phprun_resubmit_orphans(front.stage.pool) == 1, "the orphan was not found");
    CHECK(phprun_resubmit_orphans(front.stage.pool) == 0, "the orphan was found twice");
    await_rest(&front);
    go_on(&front);
    meet(&front);
    CHECK(front.lost == 0 && front.answered == front.submitted, "%llu lost", (unsigned long long)front.lost);
    end(&front);
}

static void taken_again_by_itself(struct chance *chance)
{
    struct front front = begin(chance, (1u << 29) - 1u);
    await_sleep(&front, 0);
    stop_all_but(&front, 0);
    stop_at(&front, "popped", 0);
    CHECK(phprun_resubmit_orphans(front.stage.pool) == 1, "the orphan was not found");
    kill(front.pids[0], SIGCONT);
    await_rest(&front);
    go_on(&front);
    meet(&front);
    end(&front);
}

static void let_it_claim(void);
static struct front *claiming_front;

static void claims_it_after_all(struct chance *chance)
{
    struct front front = begin(chance, 0u - 3u);
    stop_at(&front, "popped", 0);
    claiming_front = &front;
    front_hook = let_it_claim;
    CHECK(phprun_resubmit_orphans(front.stage.pool) == 0, "a slot that runs was submitted again");
    front_hook = NULL;
    await_rest(&front);
    meet(&front);
    end(&front);
}

static void let_it_claim(void)
{
    kill(claiming_front->pids[0], SIGCONT);
    while (PHPRUN_PHASE(atomic_load(&claiming_front->stage.pool->slots[0].claim)) == PHPRUN_QUEUED) {
        usleep(20);
    }
}

/* The slot has a new item, queued behind another, when the worker comes back with its old claim. */
static void overtaken_by_the_next_item(struct chance *chance)
{
    struct front front = begin(chance, 0u - 6u);
    stop_at(&front, "popped", 0);
    CHECK(phprun_resubmit_orphans(front.stage.pool) == 1, "the orphan was not found");
    await_rest(&front);
    await_sleep(&front, 1);
    for (uint32_t number = 1; number < WORKERS; number++) {
        kill(front.pids[number], SIGSTOP);
        await_stop(&front, number);
    }
    front.slots[0].busy = true;
    submit_one(&front, 0, 0);
    front.slots[0].busy = false;
    submit_one(&front, 0, 0);
    CHECK(front.slots[0].busy && front.slots[1].busy, "the items are not in these slots");
    kill(front.pids[0], SIGCONT);
    await_rest(&front);
    CHECK(atomic_load(&shared->last_item) == front.slots[0].item, "the items were run in another order");
    go_on(&front);
    meet(&front);
    end(&front);
}

/* What waits in the ring is no orphan, wherever the indices are. */
static void waits_in_the_ring(struct chance *chance, uint32_t start)
{
    struct front front = begin(chance, start - WORKERS);
    await_sleep(&front, 0);
    stop_all_but(&front, WORKERS);
    const uint32_t tail = atomic_load(&front.stage.pool->header->tail);
    CHECK(tail == start, "tail %u", tail);
    for (uint32_t i = 0; i < SLOTS; i++) {
        submit_one(&front, 0, 0);
        CHECK(phprun_resubmit_orphans(front.stage.pool) == 0, "what is in the ring was submitted again");
    }
    CHECK(atomic_load(&front.stage.pool->header->tail) == tail + SLOTS, "the ring holds something else");
    phprun_wake_one_worker(front.stage.pool);
    go_on(&front);
    await_rest(&front);
    meet(&front);
    end(&front);
}

static void keeps_what_it_claimed(struct chance *chance)
{
    struct front front = begin(chance, 0);
    stop_at(&front, "claimed", 0);
    CHECK(phprun_resubmit_orphans(front.stage.pool) == 0, "a slot that runs was submitted again");
    go_on(&front);
    await_rest(&front);
    meet(&front);
    end(&front);
}

/* It reports the end of an item that the front has found by itself, when the slot has the next item. */
static void reports_late(struct chance *chance)
{
    struct front front = begin(chance, 0);
    stop_at(&front, "ended", RING_BYTES);
    /* As if an earlier post of the same slot had been seen only now. */
    atomic_fetch_or(&front.stage.pool->header->completed[0], 1);
    drain(&front);
    CHECK(!front.slots[0].busy, "the end was not seen");
    submit_one(&front, RING_BYTES * 3, 0);
    CHECK(front.slots[0].busy, "the item is not in the same slot");
    phprun_wake_one_worker(front.stage.pool);
    go_on(&front);
    await_rest(&front);
    meet(&front);
    CHECK(front.answered == front.submitted, "%llu answered", (unsigned long long)front.answered);
    end(&front);
}

/* Between finding the ring empty and saying that it sleeps, it gets something to do. */
static void lies_down_too_late(struct chance *chance)
{
    struct front front = begin(chance, 0);
    await_sleep(&front, 0);
    for (uint32_t number = 1; number < WORKERS; number++) {
        int status;
        phprun_worker_retire(front.stage.pool, number);
        CHECK(waitpid(front.pids[number], &status, 0) > 0 && status == 0, "worker %u: %#x", number, status);
        bury(&front, number);
    }
    arm(0, SIGSTOP, "found nothing");
    submit_one(&front, 0, 0);
    phprun_wake_one_worker(front.stage.pool);
    await_stop(&front, 0);
    await_rest(&front);
    submit_one(&front, 0, 0);
    phprun_wake_one_worker(front.stage.pool);
    kill(front.pids[0], SIGCONT);
    await_rest(&front);
    end(&front);
}

static void dies_asleep(struct chance *chance)
{
    struct front front = begin(chance, 0);
    await_sleep(&front, 0);
    kill(front.pids[0], SIGKILL);
    while (reap(&front) == 0) {
        usleep(100);
    }
    await_sleep(&front, 0);
    meet(&front); /* without it being taken for one that sleeps */
    spawn(&front, 0);
    meet(&front);
    end(&front);
}

/* It was woken for an item and told to end before it could take it. */
static void retires_while_waking(struct chance *chance)
{
    struct front front = begin(chance, 0);
    stop_at(&front, "getting up", 0);
    phprun_worker_retire(front.stage.pool, 0);
    kill(front.pids[0], SIGCONT);
    int status;
    CHECK(waitpid(front.pids[0], &status, 0) > 0 && status == 0, "worker 0: %#x", status);
    await_rest(&front); /* nobody has buried it yet */
    bury(&front, 0);
    spawn(&front, 0);
    meet(&front);
    CHECK(front.lost == 0, "%llu lost", (unsigned long long)front.lost);
    end(&front);
}

int main(void)
{
    shared = shared_memory(sizeof *shared);
    struct chance chance = begin_test();

    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        printf("    dies at \"%s\"\n", points[i]);
        fflush(stdout);
        die_at(&chance, points[i], 0u - 8u);
    }
    printf("    stops and comes back\n");
    fflush(stdout);
    taken_by_another(&chance);
    taken_again_by_itself(&chance);
    overtaken_by_the_next_item(&chance);
    keeps_what_it_claimed(&chance);
    waits_in_the_ring(&chance, 1000);
    waits_in_the_ring(&chance, 0u - SLOTS / 2);
    waits_in_the_ring(&chance, (1u << 29) - SLOTS / 2);
    reports_late(&chance);
    retires_while_waking(&chance);
    claims_it_after_all(&chance);
    lies_down_too_late(&chance);
    dies_asleep(&chance);
    die_at_random(&chance, EFFORT(1500u));
    return 0;
}

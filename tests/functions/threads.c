/*
 * threads: does what the last part of the path says with threads, as many as the query says, and says what came
 * of it. With LOADS set, `init` makes so many and waits for them; with LEAVES set, it does not wait.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <hairtrigger.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST 200

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static int open_now, arrived, tried, all;
static volatile sig_atomic_t interrupted;

static void *return_argument(void *argument) { return argument; }

/* Waits until everybody may go. */
static void *wait_at_gate(void *argument) {
    pthread_mutex_lock(&gate);
    arrived++;
    pthread_cond_broadcast(&opened);
    while (!open_now) {
        pthread_cond_wait(&opened, &gate);
    }
    pthread_mutex_unlock(&gate);
    return argument;
}

static void open_gate(void) {
    pthread_mutex_lock(&gate);
    open_now = 1;
    pthread_cond_broadcast(&opened);
    pthread_mutex_unlock(&gate);
}

static void *sleep_for_ever(void *argument) {
    for (;;) {
        sleep(60);
    }
    return argument;
}

static void *spin(void *argument) {
    volatile uint64_t work = 0;
    for (;;) {
        work = work + 1;
    }
    return argument;
}

/* Uses so many milliseconds of CPU time. */
static void *use_time(void *milliseconds) {
    struct timespec used;
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    } while (used.tv_sec * 1000 + used.tv_nsec / 1000000 < (intptr_t)milliseconds);
    return milliseconds;
}

static void *crash(void *argument) {
    *(volatile int *)8 = 1;
    return argument;
}

static void *call_denied(void *argument) {
    socket(AF_INET, SOCK_DGRAM, 0);
    return argument;
}

static void *fork_here(void *argument) {
    fork();
    return argument;
}

static void *give_up(void *argument) {
    abort();
    return argument;
}

static void *use_memory(void *argument) {
    for (;;) {
        char *piece = malloc(1 << 20);
        if (piece != NULL) {
            memset(piece, 1, 1 << 20);
        }
    }
    return argument;
}

static void *start_one(void *argument) {
    pthread_t thread;
    int reason;
    wait_at_gate(NULL);
    reason = pthread_create(&thread, NULL, sleep_for_ever, NULL);
    /* Nobody makes room for another before all have tried. */
    pthread_mutex_lock(&gate);
    tried++;
    pthread_cond_broadcast(&opened);
    while (tried < all) {
        pthread_cond_wait(&opened, &gate);
    }
    pthread_mutex_unlock(&gate);
    return reason == 0 ? NULL : argument;
}

/* Writes over everything in the page of the reply, until long after it is there. */
static void *scribble(void *page) {
    volatile uint8_t *bytes = page;
    unsigned seed = 1;
    int i;
    for (i = 0; i < 20000000; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[(seed >> 8) % 4096] = (uint8_t)(seed >> 20);
    }
    return page;
}

static void note(int signal) {
    (void)signal;
    interrupted = 1;
}

static int start(pthread_t *thread, void *(*run)(void *), void *argument) {
    return pthread_create(thread, NULL, run, argument);
}

/* So many threads that wait at the gate; how many came about. */
static int crowd(pthread_t *threads, int wanted, int *reason) {
    int made = 0;
    *reason = 0;
    open_now = arrived = 0;
    while (made < wanted && (*reason = start(&threads[made], wait_at_gate, NULL)) == 0) {
        made++;
    }
    return made;
}

static void wait_for_ever(void) {
    for (;;) {
        sleep(60);
    }
}

static int32_t init(const ht_host *host, void **state) {
    const char *loads = host->env("LOADS"), *leaves = host->env("LEAVES");
    pthread_t threads[MOST];
    int i, reason, wanted = loads != NULL ? atoi(loads) : leaves != NULL ? atoi(leaves) : 0;
    int made = crowd(threads, wanted, &reason);
    (void)state;
    if (reason != 0) {
        ht_log_text(host, HT_LOG_ERROR, strerror(reason));
        return 1;
    }
    if (leaves == NULL) {
        open_gate();
        for (i = 0; i < made; i++) {
            pthread_join(threads[i], NULL);
        }
    }
    return 0;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    const char *whole = (const char *)request->path.data;
    const uint8_t *slash = memrchr(whole, '/', request->path.len);
    char digits[16] = {0}, text[128] = {0};
    pthread_t threads[MOST], thread;
    ht_bytes command;
    int i, count, made, reason = 0;
    (void)state;
    command.data = slash + 1;
    command.len = request->path.len - (size_t)(command.data - request->path.data);
    if (request->query.len >= sizeof(digits)) {
        return 1;
    }
    memcpy(digits, request->query.data, request->query.len);
    count = atoi(digits);

    if (ht_equal(command, "crowd")) { /* all at a time, and how many that were */
        made = crowd(threads, count, &reason);
        open_gate();
        for (i = 0; i < made; i++) {
            pthread_join(threads[i], NULL);
        }
        snprintf(text, sizeof(text), "%d: %s", made, strerror(reason));
    } else if (ht_equal(command, "row")) { /* one after the other */
        for (made = 0; made < count && reason == 0; made++) {
            void *returned;
            reason = start(&thread, return_argument, &thread);
            if (reason == 0 && (pthread_join(thread, &returned) != 0 || returned != &thread)) {
                return 1;
            }
        }
        snprintf(text, sizeof(text), "%d: %s", made, strerror(reason));
    } else if (ht_equal(command, "race")) { /* all of them start another at the same moment */
        made = 0;
        open_now = arrived = tried = 0;
        all = count;
        while (made < count && start(&threads[made], start_one, &gate) == 0) {
            made++;
        }
        pthread_mutex_lock(&gate);
        while (arrived < made) {
            pthread_cond_wait(&opened, &gate);
        }
        pthread_mutex_unlock(&gate);
        open_gate();
        for (i = 0, count = 0; i < made; i++) {
            void *refused;
            pthread_join(threads[i], &refused);
            count += refused == NULL;
        }
        /* Those that sleep stay: the next invocation is another worker's. */
        snprintf(text, sizeof(text), "%d", count);
    } else if (ht_equal(command, "spin")) {
        for (i = 0; i < count; i++) {
            start(&thread, spin, NULL);
        }
        spin(NULL);
    } else if (ht_equal(command, "behind")) { /* goes on for so many milliseconds of CPU time when the reply is there */
        return start(&thread, use_time, (void *)(intptr_t)count);
    } else if (ht_equal(command, "sleep")) { /* for so many milliseconds */
        struct timespec time = {count / 1000, count % 1000 * 1000000};
        nanosleep(&time, NULL);
    } else if (ht_equal(command, "leave")) { /* the first one ends, the others go on */
        start(&thread, sleep_for_ever, NULL);
        syscall(SYS_exit, 0);
    } else if (ht_equal(command, "crash")) {
        start(&thread, crash, NULL);
        wait_for_ever();
    } else if (ht_equal(command, "deny")) {
        start(&thread, call_denied, NULL);
        wait_for_ever();
    } else if (ht_equal(command, "fork")) {
        start(&thread, fork_here, NULL);
        wait_for_ever();
    } else if (ht_equal(command, "abort")) {
        start(&thread, give_up, NULL);
        wait_for_ever();
    } else if (ht_equal(command, "memory")) {
        start(&thread, use_memory, NULL);
        wait_for_ever();
    } else if (ht_equal(command, "die")) { /* without another thread */
        abort();
    } else if (ht_equal(command, "like-vfork")) { /* shares memory, and is a process of its own */
        syscall(SYS_clone, 0x4111 /* CLONE_VM | CLONE_VFORK | SIGCHLD */, 0, 0, 0, 0);
    } else if (ht_equal(command, "untraced")) { /* a thread, and more */
        syscall(SYS_clone, 0x3d0f00 | 0x800000, 0, 0, 0, 0);
    } else if (ht_equal(command, "signal")) { /* to another thread of its own */
        struct sigaction action = {0};
        action.sa_handler = note;
        sigaction(SIGUSR1, &action, NULL);
        start(&thread, sleep_for_ever, NULL);
        reason = pthread_kill(thread, SIGUSR1);
        while (reason == 0 && !interrupted) {
            sched_yield();
        }
        snprintf(text, sizeof(text), "%s", strerror(reason));
    } else if (ht_equal(command, "kill")) { /* another process */
        syscall(SYS_tgkill, count, count, SIGKILL);
    } else if (ht_equal(command, "processors")) { /* as OpenMP asks */
        cpu_set_t set;
        made = (int)syscall(SYS_sched_getaffinity, syscall(SYS_gettid), sizeof(set), &set);
        reason = syscall(SYS_sched_getaffinity, 1, sizeof(set), &set) < 0 ? errno : 0;
        snprintf(text, sizeof(text), "%s, of others: %s", made > 0 ? "told" : "refused", strerror(reason));
    } else if (ht_equal(command, "scribble")) { /* goes on when the reply is there */
        uint8_t *room = host->reserve(invocation, 6);
        memcpy(room, "proper", 6);
        host->commit(invocation, 6);
        return start(&thread, scribble, (void *)((uintptr_t)room & ~(uintptr_t)4095));
    } else if (ht_equal(command, "pid")) {
        snprintf(text, sizeof(text), "%d", getpid());
    }
    return ht_write_text(host, invocation, text);
}

HT_FUNCTION_WITH(init, NULL, invoke, NULL);

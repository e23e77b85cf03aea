/*
 * hoarder: hides what it was told wherever a process can keep something, and says where it finds what an
 * earlier invocation has hidden.
 *
 * /hide  hides the query: heap, data, bss, thread-local storage, stack, arena, environment, a descriptor,
 *        the name of the process, the signal mask
 * /seek  tells the places, one a line; nothing if there is none
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <hairtrigger.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MARK "hoarded:"

static char in_data[64] = "nothing";
static char in_bss[64];
static _Thread_local char in_tls[64];
static char *in_heap;
static int descriptor = -1;

/* Deep in the stack, below what `seek` uses itself. */
static __attribute__((noinline)) void hide_in_stack(const char *secret) {
    volatile char frame[64 * 1024];
    size_t i;
    for (i = 0; i + 64 < sizeof(frame); i += 64) {
        size_t k;
        for (k = 0; k < 64; k++) {
            frame[i + k] = secret[k];
        }
    }
}

static __attribute__((noinline)) int found_in_stack(void) {
    volatile char frame[64 * 1024];
    size_t i;
    /* Something may have been written to it, as far as the compiler knows. */
    __asm__ volatile("" : : "r"(frame) : "memory");
    for (i = 0; i + sizeof(MARK) < sizeof(frame); i++) {
        size_t k = 0;
        while (k < sizeof(MARK) - 1 && frame[i + k] == MARK[k]) {
            k++;
        }
        if (k == sizeof(MARK) - 1) {
            return 1;
        }
    }
    return 0;
}

static int holds(const char *place) {
    return place != NULL && strncmp(place, MARK, sizeof(MARK) - 1) == 0;
}

static void hide(const ht_host *host, ht_invocation *invocation, const ht_request *request) {
    char secret[64] = MARK;
    char *arena;
    sigset_t mask;
    size_t length = request->query.len < 40 ? request->query.len : 40;
    memcpy(secret + sizeof(MARK) - 1, request->query.data, length);
    memcpy(in_data, secret, sizeof(secret));
    memcpy(in_bss, secret, sizeof(secret));
    memcpy(in_tls, secret, sizeof(secret));
    in_heap = strdup(secret);
    arena = host->alloc(invocation, sizeof(secret), 1);
    if (arena != NULL) {
        memcpy(arena, secret, sizeof(secret));
    }
    hide_in_stack(secret);
    setenv("HOARDED", secret, 1);
    descriptor = open(getenv("GRANTED"), O_RDONLY | O_DIRECTORY);
    prctl(PR_SET_NAME, "hoarded");
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_BLOCK, &mask, NULL);
}

static int32_t seek(const ht_host *host, ht_invocation *invocation) {
    /* First, while the stack is as it was found. */
    const int stack = found_in_stack();
    char text[256] = "", name[16] = "";
    char *heap = malloc(48);
    int number, open_ones = 0;
    sigset_t mask;
    if (stack) {
        strcat(text, "stack\n");
    }
    if (holds(in_data)) {
        strcat(text, "data\n");
    }
    if (holds(in_bss)) {
        strcat(text, "bss\n");
    }
    if (holds(in_tls)) {
        strcat(text, "thread-local\n");
    }
    if (holds(in_heap)) {
        strcat(text, "heap\n");
    }
    if (holds(getenv("HOARDED"))) {
        strcat(text, "environment\n");
    }
    for (number = 3; number < 61; number++) {
        open_ones += fcntl(number, F_GETFD) >= 0;
    }
    if (descriptor >= 0 || open_ones > 0) {
        strcat(text, "descriptor\n");
    }
    if (prctl(PR_GET_NAME, name) == 0 && strcmp(name, "hoarded") == 0) {
        strcat(text, "name\n");
    }
    if (sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGUSR1)) {
        strcat(text, "signal mask\n");
    }
    free(heap);
    return ht_write_text(host, invocation, text);
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    if (request->path.len >= 5 && memcmp(request->path.data + request->path.len - 5, "/hide", 5) == 0) {
        hide(host, invocation, request);
        return ht_write_text(host, invocation, "hidden\n");
    }
    return seek(host, invocation);
}

HT_FUNCTION(invoke);

/*
 * probe: does what the last part of the path says, and says what it sees. The number in the query, if there
 * is one, is the command's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <hairtrigger.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t number(const ht_request *request) {
    uint64_t value = 0;
    size_t i;
    for (i = 0; i < request->query.len; i++) {
        value = value * 10 + (uint64_t)(request->query.data[i] - '0');
    }
    return value;
}

static void sleep_ms(uint64_t milliseconds) {
    struct timespec time = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&time, &time) != 0) {
    }
}

static int32_t say(const ht_host *host, ht_invocation *invocation, long value) {
    char text[32];
    snprintf(text, sizeof(text), "%ld\n", value);
    return ht_write_text(host, invocation, text);
}

static uint32_t descend(uint32_t depth) {
    volatile uint8_t frame[1024];
    frame[depth % 1024] = 1;
    return depth == UINT32_MAX ? 0 : descend(depth + 1) + frame[depth % 1024];
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    static long served;
    const char *path = (const char *)request->path.data;
    const uint8_t *slash = memrchr(path, '/', request->path.len);
    ht_bytes command;
    (void)state;
    served++;
    command.data = slash + 1;
    command.len = request->path.len - (size_t)(command.data - request->path.data);

    if (ht_equal(command, "pid")) {
        return say(host, invocation, getpid());
    }
    if (ht_equal(command, "count")) {
        return say(host, invocation, served);
    }
    if (ht_equal(command, "env")) {
        const char *value = host->env("GREETING");
        return ht_write_text(host, invocation, value != NULL ? value : "none");
    }
    if (ht_equal(command, "id")) {
        return ht_write_bytes(host, invocation, request->invocation_id);
    }
    if (ht_equal(command, "sleep")) {
        sleep_ms(number(request));
        return say(host, invocation, getpid());
    }
    if (ht_equal(command, "almost")) { /* answers that many milliseconds before its deadline */
        uint64_t until = request->deadline_ns - number(request) * 1000000;
        while (host->now_ns() < until) {
            sleep_ms(1);
        }
        return ht_write_text(host, invocation, "in time\n");
    }
    if (ht_equal(command, "burn")) { /* computes for that many milliseconds */
        const uint64_t until = host->now_ns() + number(request) * 1000000;
        while (host->now_ns() < until) {
        }
        return ht_write_text(host, invocation, "burnt\n");
    }
    if (ht_equal(command, "use")) { /* uses that many milliseconds of CPU time, however long that takes */
        struct timespec used;
        const uint64_t until = number(request) * 1000000;
        uint64_t first = 0, now = 0;
        do {
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
            now = (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
            first = first == 0 ? now : first;
        } while (now - first < until);
        return ht_write_text(host, invocation, "used\n");
    }
    if (ht_equal(command, "spin")) {
        volatile uint32_t work = 0;
        for (;;) {
            work = work + 1;
        }
    }
    if (ht_equal(command, "bomb")) {
        for (;;) {
            char *piece = malloc(1 << 20);
            if (piece == NULL) {
                return ht_write_text(host, invocation, "malloc refused\n");
            }
            memset(piece, 1, 1 << 20);
        }
    }
    if (ht_equal(command, "answer")) { /* a body of that many bytes */
        uint64_t i, length = number(request);
        for (i = 0; i < length; i++) {
            char byte = (char)('a' + i % 26);
            if (host->write(invocation, &byte, 1) != HT_OK) {
                break;
            }
        }
        return 0;
    }
    if (ht_equal(command, "status")) {
        return host->set_status(invocation, (uint32_t)number(request));
    }
    if (ht_equal(command, "fail")) {
        return (int32_t)number(request);
    }
    if (ht_equal(command, "log")) {
        ht_log_text(host, HT_LOG_WARN, "a line of the log");
        puts("a line of stdout");
        fflush(stdout);
        return ht_write_text(host, invocation, "logged\n");
    }
    if (ht_equal(command, "exit")) {
        exit((int)number(request));
    }
    if (ht_equal(command, "abort")) {
        abort();
    }
    if (ht_equal(command, "nameless")) { /* aborts under a name that is no text */
        prctl(PR_SET_NAME, "\xff\xfe) Z 1");
        abort();
    }
    if (ht_equal(command, "overflow")) {
        return (int32_t)descend(0);
    }
    if (ht_equal(command, "null")) {
        *(volatile int *)8 = 1;
    }
    if (ht_equal(command, "socket")) {
        return socket(AF_INET, SOCK_STREAM, 0);
    }
    if (ht_equal(command, "kill")) {
        return kill((pid_t)number(request), SIGKILL);
    }
    if (ht_equal(command, "foreign")) { /* a number that no kernel has */
        return (int32_t)syscall(100000 + (long)number(request));
    }
    if (ht_equal(command, "open")) {
        int file = open("/function/function.toml", O_RDONLY);
        return ht_write_text(host, invocation, file < 0 ? strerror(errno) : "opened");
    }
    return ht_write_bytes(host, invocation, command);
}

HT_FUNCTION(invoke);

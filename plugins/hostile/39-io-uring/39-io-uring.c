/*
 * Crime 39: makes an io_uring, whose operations no system call filter would see.
 *
 * Expected: killed at the call: 502, outcome "violation", naming io_uring_setup.
 * Should it succeed, the ring is closed, and the answer says that there was one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <hairtrigger.h>
#include <sys/syscall.h>
#include <unistd.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    /* struct io_uring_params, all zero: what the kernel needs, without its header. */
    uint64_t parameters[120 / sizeof(uint64_t)] = {0};
    long ring = syscall(SYS_io_uring_setup, 8L, parameters);
    (void)state;
    (void)request;
    if (ring < 0) {
        ht_write_text(host, invocation, "io_uring_setup: ");
        return ht_write_text(host, invocation, strerror(errno));
    }
    close((int)ring);
    return ht_write_text(host, invocation, "io_uring_setup: a ring");
}

HT_FUNCTION(invoke);

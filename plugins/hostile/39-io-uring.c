/*
 * Crime 39: makes an io_uring, whose operations no system call filter would see.
 *
 * Expected: killed at the call. Should it succeed, the ring is closed.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    /* struct io_uring_params, all zero: what the kernel needs, without its header. */
    uint64_t parameters[120 / sizeof(uint64_t)] = {0};
    long ring = syscall(SYS_io_uring_setup, 8L, parameters);
    (void)scene;
    if (ring >= 0) {
        close((int)ring);
    }
    return crime_result("io_uring_setup", ring);
}

CRIME(commit);

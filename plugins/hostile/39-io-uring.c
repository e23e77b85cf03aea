/*
 * Crime 39: makes an io_uring, whose operations no system call filter would see, or uses one.
 *
 * Expected: killed, each of them. Should there be a ring, it is closed.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    /* struct io_uring_params, all zero: what the kernel needs, without its header. */
    uint64_t parameters[120 / sizeof(uint64_t)] = {0};
    const crime_call calls[] = {
        {NULL, "io_uring_setup", CRIME_GIVES_FD | SYS_io_uring_setup, {8, (long)parameters}},
        {NULL, "io_uring_enter", SYS_io_uring_enter, {-1, 0, 0, 0, 0, 0}},
        {NULL, "io_uring_register", SYS_io_uring_register, {-1, 0, 0, 0}},
        {NULL, "io_setup", SYS_io_setup, {0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

/*
 * Crime 74: takes its time to be loaded: 600 ms, half of them computing.
 *
 * Expected: it serves once it is loaded, others are served meanwhile, and who asked for it early waits.
 */
#include "crime.h"
#include <time.h>

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

__attribute__((constructor)) static void dawdle(void) {
    struct timespec left = {0, 300 * 1000000};
    const uint64_t end = now_ms() + 600;
    while (nanosleep(&left, &left) != 0) {
    }
    while (now_ms() < end) {
    }
}

static const char *commit(const crime_scene *scene) {
    (void)scene;
    return crime_committed("loaded at last");
}

CRIME(commit);

/*
 * Crime 59: computes without end.
 *
 * Expected: killed at its time limit. Unconfined, it stops by itself after a minute.
 */
#include "crime.h"
#include <time.h>

#define MINUTE_S 60

static const char *commit(const crime_scene *scene) {
    volatile uint32_t work = 0;
    struct timespec now, start;
    (void)scene;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        do {
            work = work + 1;
        } while (work % (1u << 20) != 0);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < start.tv_sec + MINUTE_S);
    return crime_committed("a minute");
}

CRIME(commit);

/*
 * Crime 60: sleeps for ever.
 *
 * Expected: killed at its time limit. Unconfined, it stops by itself after a minute.
 */
#include "crime.h"
#include <time.h>

static const char *commit(const crime_scene *scene) {
    struct timespec left = {60, 0};
    (void)scene;
    while (nanosleep(&left, &left) != 0) {
    }
    return crime_committed("slept for a minute");
}

CRIME(commit);

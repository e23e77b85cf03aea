/*
 * Crime 66: masks every signal, ignores every signal, and computes without end.
 *
 * Expected: killed at its time limit: SIGKILL is neither masked nor ignored. Unconfined, it stops by itself after a
 * minute.
 */
#include "crime.h"
#include <signal.h>
#include <time.h>

static const char *commit(const crime_scene *scene) {
    struct timespec now, end;
    sigset_t all;
    int number;
    (void)scene;
    for (number = 1; number <= SIGRTMAX; number++) {
        signal(number, SIG_IGN);
    }
    sigfillset(&all);
    if (sigprocmask(SIG_SETMASK, &all, NULL) != 0) {
        return crime_refused("sigprocmask");
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - end.tv_sec < 60);
    return crime_committed("a minute without a signal");
}

CRIME(commit);

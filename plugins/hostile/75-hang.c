/*
 * Crime 75: computes without end, wherever it may: in an invocation, a worker's start, init, a constructor, and, with
 * CRIME_AT=ifunc, before even a constructor runs, while the loader asks the plugin which function it is to use.
 *
 * Expected: killed at the time limit of the place: that of the function; five seconds for the start of a worker, ten
 * for a load. Unconfined, it stops by itself after a minute.
 */
#include "crime.h"
#include <time.h>

static void hang(void) {
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < 60);
}

static const char *resolved(void) {
    hang();
    return crime_committed("a minute");
}

/* Resolvers of functions that nobody else sees are called last, when what this one calls is there already. */
__attribute__((used)) static const char *(*resolve(void))(void) {
    if (crime_at("ifunc")) {
        hang();
    }
    return resolved;
}

static const char *chosen(void) __attribute__((ifunc("resolve")));

static const char *commit(const crime_scene *scene) {
    (void)scene;
    return chosen();
}

CRIME(commit);

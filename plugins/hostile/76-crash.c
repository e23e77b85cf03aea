/*
 * Crime 76: crashes, again and again, wherever it may: in an invocation, a worker's start, init, a constructor, and,
 * with CRIME_AT=fork, in the template whenever that is to fork a worker.
 *
 * Expected: a fault, naming SIGSEGV. A function that cannot be loaded is not tried again before it is deployed again;
 * one whose workers or template end before they serve is tried again, later each time, and callers are told why.
 */
#include "crime.h"
#include <pthread.h>

static void crash(void) {
    volatile char *volatile nothing = NULL;
    *nothing = 1;
}

__attribute__((constructor)) static void prepare(void) {
    if (crime_at("fork")) {
        pthread_atfork(crash, NULL, NULL);
    }
}

static const char *commit(const crime_scene *scene) {
    (void)scene;
    crash();
    return crime_committed("wrote to address 0");
}

CRIME(commit);

/*
 * Crime 69: has a destructor and an exit handler that never return, and exits.
 *
 * Expected: killed at its time limit; and when nobody wants the function any more it is gone at once, because nobody
 * waits for either. Unconfined, each ends by itself after a minute.
 */
#include "crime.h"
#include <time.h>

static void hang(void) {
    struct timespec left = {60, 0};
    while (nanosleep(&left, &left) != 0) {
    }
}

__attribute__((destructor)) static void at_unload(void) {
    hang();
}

__attribute__((constructor)) static void prepare(void) {
    atexit(hang);
}

static const char *commit(const crime_scene *scene) {
    (void)scene;
    exit(0);
}

CRIME(commit);

/*
 * Crime 27: starts threads until it is stopped.
 *
 * Expected: a function that was granted none is killed at the first. Where some are granted, EAGAIN at one more.
 * Unconfined, it stops by itself at 256, each of which ends within half a second.
 */
#include "crime.h"
#include <pthread.h>
#include <time.h>

#define THREADS 256
#define LIFE_NS 500000000

static void *live(void *nothing) {
    const struct timespec life = {0, LIFE_NS};
    nanosleep(&life, NULL);
    return nothing;
}

static const char *commit(const crime_scene *scene) {
    static pthread_t threads[THREADS];
    const char *said;
    int count, failed = 0;
    (void)scene;
    for (count = 0; count < THREADS; count++) {
        failed = pthread_create(&threads[count], NULL, live, NULL);
        if (failed != 0) {
            break;
        }
    }
    errno = failed;
    said = failed != 0 ? crime_refused("pthread_create") : crime_committed("256 threads");
    while (count-- > 0) {
        pthread_join(threads[count], NULL);
    }
    return said;
}

CRIME(commit);

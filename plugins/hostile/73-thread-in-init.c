/*
 * Crime 73: leaves a thread behind in the template, which a fork would lose, with whatever it holds locked.
 *
 * Expected: its initialisation is ended at the thread: violation, naming clone. Unconfined, the thread ends by itself
 * after a minute.
 */
#include "crime.h"
#include <pthread.h>
#include <time.h>

static void *wait(void *nothing) {
    struct timespec left = {60, 0};
    while (nanosleep(&left, &left) != 0) {
    }
    return nothing;
}

static const char *commit(const crime_scene *scene) {
    pthread_t thread;
    int error = pthread_create(&thread, NULL, wait, NULL);
    (void)scene;
    errno = error;
    /* Of init nothing but a failure is told: success means that the function serves, with its thread. */
    return error == 0 && scene->invocation == NULL ? NULL : crime_result("pthread_create", error == 0 ? 0 : -1);
}

CRIME(commit);

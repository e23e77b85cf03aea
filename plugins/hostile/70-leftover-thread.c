/*
 * Crime 70: leaves a thread behind that goes on changing the response after it was given.
 *
 * Expected: killed at the thread: violation, naming clone. Where there are threads, what is changed after the answer
 * must not matter: the answer is the room's bytes as they were when it was given, or none. Unconfined, the thread
 * ends by itself after a second.
 */
#include "crime.h"
#include <pthread.h>
#include <time.h>

#define ROOM ((size_t)4096)

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *scribble(void *room) {
    const uint64_t end = now_ns() + 1000000000;
    while (now_ns() < end) {
        memset(room, 'x', ROOM);
        memset(room, 'y', ROOM);
    }
    return NULL;
}

static const char *commit(const crime_scene *scene) {
    pthread_t thread;
    void *room;
    int error;
    if (scene->invocation == NULL) {
        static char own[ROOM];
        room = own;
    } else {
        room = scene->host->reserve(scene->invocation, ROOM);
        memset(room, 'w', ROOM);
        scene->host->commit(scene->invocation, ROOM);
    }
    error = pthread_create(&thread, NULL, scribble, room);
    if (error != 0) {
        errno = error;
        return crime_refused("pthread_create");
    }
    pthread_detach(thread);
    return crime_committed("a thread was left behind");
}

CRIME(commit);

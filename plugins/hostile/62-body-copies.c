/*
 * Crime 62: takes a body that it may be sent, and copies it more often than it has memory for.
 *
 * Expected: killed at its memory limit: out of memory. Unconfined, it stops by itself at 64 copies.
 */
#include "crime.h"

#define COPIES 64

static const char *commit(const crime_scene *scene) {
    static void *copies[COPIES];
    int count, i;
    if (scene->request == NULL || scene->request->body.len == 0) {
        return crime_refused("there is no body");
    }
    for (count = 0; count < COPIES; count++) {
        copies[count] = malloc(scene->request->body.len);
        if (copies[count] == NULL) {
            break;
        }
        memcpy(copies[count], scene->request->body.data, scene->request->body.len);
    }
    for (i = 0; i < count; i++) {
        free(copies[i]);
    }
    return count == COPIES ? crime_committed("64 copies") : crime_refused("malloc");
}

CRIME(commit);

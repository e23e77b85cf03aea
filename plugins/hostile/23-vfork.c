/*
 * Crime 23: makes a child by vfork, which shares its memory.
 *
 * Expected: killed at the call. Should there be a child, it exits at once.
 */
#include "crime.h"
#include <sys/wait.h>

static const char *commit(const crime_scene *scene) {
    pid_t child = vfork();
    (void)scene;
    if (child == 0) {
        _exit(0);
    }
    if (child < 0) {
        return crime_refused("vfork");
    }
    waitpid(child, NULL, 0);
    return crime_committed("vfork");
}

CRIME(commit);

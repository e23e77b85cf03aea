/*
 * Crime 22: forks.
 *
 * Expected: killed at the fork, with no child made. Should there be a child, it exits at once.
 */
#include "crime.h"
#include <sys/wait.h>

static const char *commit(const crime_scene *scene) {
    pid_t child = fork();
    (void)scene;
    if (child == 0) {
        _exit(0);
    }
    if (child < 0) {
        return crime_refused("fork");
    }
    waitpid(child, NULL, 0);
    return crime_committed("fork");
}

CRIME(commit);

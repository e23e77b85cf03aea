/*
 * Crime 26: forks until it is stopped, and is most dangerous in init, before anybody is asked.
 *
 * Expected: killed at the first. Where the filter is off, the number of processes of its function stops it. Unconfined,
 * it stops by itself at 256 children, each of which ends within half a second.
 */
#include "crime.h"
#include <sys/wait.h>
#include <time.h>

#define CHILDREN 256
#define LIFE_NS 500000000

static const char *commit(const crime_scene *scene) {
    const struct timespec life = {0, LIFE_NS};
    const char *said;
    int count;
    pid_t child = 0;
    (void)scene;
    for (count = 0; count < CHILDREN; count++) {
        child = fork();
        if (child == 0) {
            nanosleep(&life, NULL);
            _exit(0);
        }
        if (child < 0) {
            break;
        }
    }
    said = child < 0 ? crime_refused("fork") : crime_committed("256 forks");
    while (count-- > 0) {
        waitpid(-1, NULL, 0);
    }
    return said;
}

CRIME(commit);

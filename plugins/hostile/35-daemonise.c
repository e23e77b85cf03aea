/*
 * Crime 35: leaves its session and its group, and a child behind that lives on by itself.
 *
 * Expected: killed at the first call, by whichever it begins. Should there be a child, it ends within half a second.
 */
#include "crime.h"
#include <sys/wait.h>
#include <time.h>

#define LIFE_NS 500000000

static const char *commit(const crime_scene *scene) {
    const struct timespec life = {0, LIFE_NS};
    const crime_call calls[] = {
        {NULL, "setsid", SYS_setsid, {0}},
        {NULL, "setpgid", SYS_setpgid, {0, 0}},
    };
    pid_t child;
    if (!crime_is(scene, "child")) {
        return CRIME_MAKE(scene, calls);
    }
    child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0) {
            nanosleep(&life, NULL);
        }
        _exit(0);
    }
    if (child > 0) {
        waitpid(child, NULL, 0);
    }
    return crime_result("fork", child);
}

CRIME(commit);

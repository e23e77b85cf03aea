/*
 * Crime 41: handles page faults itself, with which kernel code can be held up wherever it touches memory.
 *
 * Expected: killed at the call. Should there be a descriptor, it is closed.
 */
#include "crime.h"

#define USER_MODE_ONLY 1

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {NULL, "userfaultfd", CRIME_GIVES_FD | SYS_userfaultfd, {USER_MODE_ONLY}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

/*
 * Crime 40: loads a program into the kernel.
 *
 * Expected: killed at the call. There is no such command.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {NULL, "bpf", SYS_bpf, {-1, 0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

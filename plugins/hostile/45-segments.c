/*
 * Crime 45: changes the processor's segments.
 *
 * Expected: killed, each of them. What is asked for is nothing, or no such thing.
 */
#include "crime.h"

#define READ 0

static const char *commit(const crime_scene *scene) {
    static char room[16];
    const crime_call calls[] = {
        {NULL, "modify_ldt", SYS_modify_ldt, {READ, (long)room, 0}},
        {NULL, "arch_prctl", SYS_arch_prctl, {0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

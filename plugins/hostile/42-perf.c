/*
 * Crime 42: counts events of the processor, its own and everybody's.
 *
 * Expected: killed at the call. What is to be counted is missing.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {NULL, "perf_event_open", CRIME_GIVES_FD | SYS_perf_event_open, {0, 0, -1, -1, 0}},
        {NULL, "lookup_dcookie", SYS_lookup_dcookie, {0, 0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

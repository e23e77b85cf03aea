/*
 * Crime 28: signals everybody that it may, or its group, or a thread.
 *
 * Expected: killed, each of them. The signal is 0, which arrives nowhere.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    static uint64_t information[16];
    const crime_call calls[] = {
        {NULL, "kill", SYS_kill, {-1, 0}},
        {"group", "kill", SYS_kill, {0, 0}},
        {"init", "kill", SYS_kill, {1, 0}},
        {NULL, "tkill", SYS_tkill, {1, 0}},
        {NULL, "rt_sigqueueinfo", SYS_rt_sigqueueinfo, {1, 0, (long)information}},
        {NULL, "rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo, {1, 1, 0, (long)information}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

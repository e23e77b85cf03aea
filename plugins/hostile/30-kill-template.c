/*
 * Crime 30: signals the process that it was forked from.
 *
 * Expected: killed, by whichever call it tries. The signal is 0, which arrives nowhere.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    const long pid = crime_pid(scene);
    const crime_call calls[] = {
        {NULL, "kill", SYS_kill, {pid, 0}},
        {NULL, "tgkill", SYS_tgkill, {pid, pid, 0}},
        {NULL, "tkill", SYS_tkill, {pid, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

/*
 * Crime 36: takes privileges: another identity, capabilities, and what has been given up about itself.
 *
 * Expected: killed, each of them.
 */
#include "crime.h"
#include <linux/capability.h>
#include <sys/prctl.h>

static const char *commit(const crime_scene *scene) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct all[2] = {{~0u, ~0u, 0}, {~0u, ~0u, 0}};
    const crime_call calls[] = {
        {NULL, "setuid", SYS_setuid, {0}},
        {NULL, "setgid", SYS_setgid, {0}},
        {NULL, "setreuid", SYS_setreuid, {0, 0}},
        {NULL, "setresuid", SYS_setresuid, {0, 0, 0}},
        {NULL, "setfsuid", SYS_setfsuid, {0}},
        {NULL, "setgroups", SYS_setgroups, {0, 0}},
        {NULL, "capset", SYS_capset, {(long)&header, (long)all}},
        {"dumpable", "prctl", SYS_prctl, {PR_SET_DUMPABLE, 1, 0, 0, 0}},
        {"tracer", "prctl", SYS_prctl, {PR_SET_PTRACER, -1, 0, 0, 0}},
        {"orphan", "prctl", SYS_prctl, {PR_SET_PDEATHSIG, 0, 0, 0, 0}},
        {"subreaper", "prctl", SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0}},
        {"keep", "prctl", SYS_prctl, {PR_SET_KEEPCAPS, 1, 0, 0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

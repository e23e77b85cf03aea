/*
 * Crime 38: changes limits, priorities and places: those of another process, whose pid is the target, and its own.
 *
 * Expected: killed, each of them. Values are such that they change nothing, or are none.
 */
#include "crime.h"
#include <sys/resource.h>

static const char *commit(const crime_scene *scene) {
    static struct rlimit limit;
    static uint64_t processors;
    const long pid = crime_pid(scene);
    const struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};
    const crime_call calls[] = {
        {NULL, "prlimit64", SYS_prlimit64, {pid, RLIMIT_DATA, 0, (long)&limit}},
        {"own", "prlimit64", SYS_prlimit64, {0, RLIMIT_DATA, (long)&more, 0}},
        {NULL, "setrlimit", SYS_setrlimit, {RLIMIT_DATA, (long)&more}},
        {NULL, "setpriority", SYS_setpriority, {PRIO_PROCESS, pid, 0}},
        {NULL, "sched_setaffinity", SYS_sched_setaffinity, {pid, sizeof(processors), (long)&processors}},
        {NULL, "sched_getaffinity", SYS_sched_getaffinity, {pid, sizeof(processors), (long)&processors}},
        {NULL, "sched_setscheduler", SYS_sched_setscheduler, {pid, -1, 0}},
        {NULL, "sched_setattr", SYS_sched_setattr, {pid, 0, 0}},
        {NULL, "ioprio_set", SYS_ioprio_set, {1, pid, -1}},
        {NULL, "migrate_pages", SYS_migrate_pages, {pid, 0, 0, 0}},
        {NULL, "move_pages", SYS_move_pages, {pid, 0, 0, 0, 0, 0}},
        {NULL, "getpgid", SYS_getpgid, {pid}},
        {NULL, "getppid", SYS_getppid, {0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

/*
 * Crime 31: takes another process by a descriptor, and its descriptors from it: that whose pid is the target.
 *
 * Expected: killed, by whichever call it tries.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    const long pid = crime_pid(scene);
    const crime_call calls[] = {
        {NULL, "pidfd_getfd", CRIME_GIVES_FD | SYS_pidfd_getfd, {-1, 0, 0}},
        {NULL, "pidfd_send_signal", SYS_pidfd_send_signal, {-1, 0, 0, 0}},
        {NULL, "kcmp", SYS_kcmp, {pid, pid, 0, 0, 0}},
    };
    long process, descriptor;
    if (!crime_is(scene, "")) {
        return CRIME_MAKE(scene, calls);
    }
    process = syscall(SYS_pidfd_open, pid, 0L);
    if (process < 0) {
        return crime_refused("pidfd_open");
    }
    descriptor = syscall(SYS_pidfd_getfd, process, 0L, 0L);
    close((int)process);
    if (descriptor >= 0) {
        close((int)descriptor);
    }
    return crime_result("pidfd_getfd", descriptor);
}

CRIME(commit);

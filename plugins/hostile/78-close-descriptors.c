/*
 * Crime 78: closes every descriptor that it has: its output, and the bell by which the daemon hears of its answer.
 *
 * (none)  and answers: the answer is found all the same, and its caller gets exactly one
 * die     and aborts: a fault, naming SIGABRT, for the kernel tells of its end
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    const long result = syscall(SYS_close_range, 0L, ~0U, 0L);
    if (crime_is(scene, "die")) {
        abort();
    }
    return crime_is(scene, "") ? crime_result("close_range", result) : crime_unknown(scene);
}

CRIME(commit);

/*
 * Crime 47: makes a system call by a number of the x32 ABI, which has a bit more, or by one that nobody knows yet.
 *
 * Expected: killed at once, without a name.
 */
#include "crime.h"

#define X32 0x40000000L
#define X32_EXECVE 520L
#define NOT_YET 470L
#define FAR 100000L

static const char *commit(const crime_scene *scene) {
    long number = -2;
    if (crime_is(scene, "")) {
        number = X32 | SYS_getpid;
    } else if (crime_is(scene, "x32-execve")) {
        number = X32_EXECVE;
    } else if (crime_is(scene, "minus-one")) {
        number = -1;
    } else if (crime_is(scene, "not-yet")) {
        number = NOT_YET;
    } else if (crime_is(scene, "far")) {
        number = FAR;
    } else {
        return crime_unknown(scene);
    }
    return crime_result("syscall", syscall(number, 0L, 0L, 0L, 0L, 0L, 0L));
}

CRIME(commit);

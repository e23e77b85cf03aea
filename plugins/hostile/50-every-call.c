/*
 * Crime 50: makes the system call of whatever number it is told, or -1.
 *
 * Expected: what the policy says about that number; killed for -1. All arguments are bad, so that a call that reaches
 * the kernel is refused there or has nothing to do.
 */
#include "crime.h"

/* No descriptor, no pointer, no size and no set of flags. */
#define BAD (-4096L)

static const char *commit(const crime_scene *scene) {
    const long number = *scene->target == '\0' ? -1 : strtol(scene->target, NULL, 10);
    return crime_result("the call", syscall(number, BAD, BAD, BAD, BAD, BAD, BAD));
}

CRIME(commit);

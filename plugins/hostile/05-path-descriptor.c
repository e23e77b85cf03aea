/*
 * Crime 5: takes its root as a descriptor that needs no right to read, and makes it, or what is above it, its current
 * directory.
 *
 * Expected: at invoke nothing can be opened; in init it is killed at fchdir, as is whoever changes directories.
 */
#include "crime.h"
#include <fcntl.h>

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {NULL, "fchdir", SYS_fchdir, {-1}},
        {NULL, "chdir", SYS_chdir, {(long)".."}},
        {NULL, "chroot", SYS_chroot, {(long)"crime-does-not-exist"}},
    };
    int root, result;
    if (!crime_is(scene, "")) {
        return CRIME_MAKE(scene, calls);
    }
    root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        return crime_refused("open");
    }
    result = fchdir(root);
    close(root);
    return crime_result("fchdir", result);
}

CRIME(commit);

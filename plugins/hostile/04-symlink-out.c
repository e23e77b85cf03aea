/*
 * Crime 4: follows a symbolic link out of its root: one that was deployed beside its manifest, called "out" and leading
 * to /etc/passwd. Or makes one.
 *
 * Expected: at invoke nothing can be opened; in init the link leads nowhere. Making one is killed.
 */
#include "crime.h"
#include <fcntl.h>

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {NULL, "symlink", SYS_symlink, {(long)"/etc/passwd", (long)"crime-does-not-exist/crime"}},
        {NULL, "symlinkat", SYS_symlinkat, {(long)"/etc/passwd", -1, (long)"crime"}},
    };
    int file;
    if (!crime_is(scene, "")) {
        return CRIME_MAKE(scene, calls);
    }
    file = open("out", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        close(file);
    }
    return crime_result("open", file);
}

CRIME(commit);

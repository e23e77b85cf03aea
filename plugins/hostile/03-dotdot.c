/*
 * Crime 3: climbs out of its root with dots.
 *
 * Expected: at invoke nothing can be opened; in init the dots end at its own root, where there is no such file.
 */
#include "crime.h"
#include <fcntl.h>

static const char *commit(const crime_scene *scene) {
    const char *path = crime_is(scene, "below") ? "/function/../../../../../../../../etc/passwd"
                                                : "../../../../../../../../../../../../etc/passwd";
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        close(file);
    }
    return crime_result("open", file);
}

CRIME(commit);

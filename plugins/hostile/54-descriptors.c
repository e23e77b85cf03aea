/*
 * Crime 54: opens its own directory until it has no descriptor left, and then gives them back.
 *
 * keep  keeps them all, which makes sense where files can be opened: while it is loaded
 *
 * Expected: while it is loaded, the last open fails with EMFILE, and nobody but the function is short of anything; if
 * it keeps them, nothing is left for its own further confinement, and it is not served. In an invocation, where
 * nothing can be opened, the first fails with EACCES. Unconfined, it stops by itself at 1,000.
 */
#include "crime.h"
#include <fcntl.h>

#define DESCRIPTORS 1000

static const char *commit(const crime_scene *scene) {
    static int kept[DESCRIPTORS];
    const int keep = crime_is(scene, "keep");
    int count, i, reason;
    if (!keep && !crime_is(scene, "")) {
        return crime_unknown(scene);
    }
    for (count = 0; count < DESCRIPTORS; count++) {
        /* The working directory of a function is that of its plugin. */
        kept[count] = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (kept[count] < 0) {
            break;
        }
    }
    reason = errno;
    for (i = 0; i < count && !keep; i++) {
        close(kept[i]);
    }
    errno = reason;
    if (keep && scene->invocation == NULL) {
        return NULL; /* go on as if nothing had been done */
    }
    return count == DESCRIPTORS ? crime_committed("descriptors without end") : crime_refused("open");
}

CRIME(commit);

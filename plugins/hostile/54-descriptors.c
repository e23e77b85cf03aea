/*
 * Crime 54: opens its own directory until it has no descriptor left, and then gives them back.
 *
 * keep      keeps them all, which makes sense where files can be opened: while it is loaded
 * rulesets  makes rulesets of landlock, each of which is a descriptor, and which everybody may make
 *
 * Expected: while it is loaded, the last open fails with EMFILE, and nobody but the function is short of anything; if
 * it keeps them, nothing is left for its own further confinement, and it is not served. In an invocation, where
 * nothing can be opened, the first fails with EACCES; of rulesets one fails with EMFILE there as well. Unconfined, it
 * stops by itself at 1,000.
 */
#include "crime.h"
#include <fcntl.h>
#include <sys/syscall.h>

#define DESCRIPTORS 1000

static int make(int ruleset) {
    /* The first field of a landlock_ruleset_attr: execution. */
    const uint64_t handled = 1;
    if (ruleset) {
        return (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled), 0);
    }
    /* The working directory of a function is that of its plugin. */
    return open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static const char *commit(const crime_scene *scene) {
    static int kept[DESCRIPTORS];
    const int keep = crime_is(scene, "keep"), rulesets = crime_is(scene, "rulesets");
    int count, i, reason;
    if (!keep && !rulesets && !crime_is(scene, "")) {
        return crime_unknown(scene);
    }
    for (count = 0; count < DESCRIPTORS; count++) {
        kept[count] = make(rulesets);
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
    if (count == DESCRIPTORS) {
        return crime_committed("descriptors without end");
    }
    return crime_refused(rulesets ? "landlock_create_ruleset" : "open");
}

CRIME(commit);

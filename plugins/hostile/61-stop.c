/*
 * Crime 61: stops, so that it neither ends nor goes on.
 *
 * (none)  itself: killed at its time limit, for SIGKILL reaches what is stopped
 * group   its whole process group, the template's: killed at the call, violation, naming kill
 *
 * Unconfined, what it stops stays stopped until somebody sends SIGCONT.
 */
#include "crime.h"
#include <signal.h>

static const char *commit(const crime_scene *scene) {
    if (crime_is(scene, "")) {
        return crime_result("raise", raise(SIGSTOP) == 0 ? 0 : -1);
    }
    return crime_is(scene, "group") ? crime_result("kill", kill(0, SIGSTOP)) : crime_unknown(scene);
}

CRIME(commit);

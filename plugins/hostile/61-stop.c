/*
 * Crime 61: stops itself, so that it neither ends nor goes on.
 *
 * Expected: killed at its time limit, for SIGKILL reaches what is stopped. Unconfined, it stays stopped until somebody
 * sends SIGCONT.
 */
#include "crime.h"
#include <signal.h>

static const char *commit(const crime_scene *scene) {
    (void)scene;
    return crime_result("raise", raise(SIGSTOP) == 0 ? 0 : -1);
}

CRIME(commit);

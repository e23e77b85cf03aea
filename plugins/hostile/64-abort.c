/*
 * Crime 64: aborts.
 *
 * Expected: a fault, naming SIGABRT.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    (void)scene;
    abort();
}

CRIME(commit);

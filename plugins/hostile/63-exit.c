/*
 * Crime 63: ends the process with success instead of answering.
 *
 * Expected: never a success: the outcome "exited", with code 0.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    (void)scene;
    exit(0);
}

CRIME(commit);

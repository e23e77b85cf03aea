/*
 * Crime 67: lets a C++ exception leave `invoke`.
 *
 * Expected: nobody in the host catches it, so it ends the process: a fault, naming SIGABRT.
 */
#include "crime.h"
#include <stdexcept>

static const char *commit(const crime_scene *scene) {
    (void)scene;
    throw std::runtime_error("thrown across the ABI");
}

CRIME(commit);

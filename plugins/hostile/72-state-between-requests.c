/*
 * Crime 72: keeps what it was told in one request, and tells it in another.
 *
 * (none)  keeps the request's query
 * tell    tells what was kept
 *
 * Expected: nobody stops it. Requests of one function may meet in one worker, as is documented; they never meet those
 * of another function, although it is made of the same plugin.
 */
#include "crime.h"

static const char *commit(const crime_scene *scene) {
    static char kept[128] = "nothing";
    if (crime_is(scene, "")) {
        snprintf(kept, sizeof(kept), "kept %.100s", scene->target);
        return crime_committed(kept);
    }
    return crime_is(scene, "tell") ? crime_committed(kept) : crime_unknown(scene);
}

CRIME(commit);

/*
 * Crime 77: answers with more than it may.
 *
 * Expected: response_too_large, whatever it goes on to write. Unconfined, it stops by itself at 64 MiB.
 */
#include "crime.h"

#define PIECE ((size_t)64 << 10)
#define PIECES 1024

static const char *commit(const crime_scene *scene) {
    static char bytes[PIECE];
    int i;
    if (scene->invocation == NULL) {
        return crime_committed("nothing: there is no response here");
    }
    memset(bytes, 'x', sizeof(bytes));
    for (i = 0; i < PIECES; i++) {
        scene->host->write(scene->invocation, bytes, sizeof(bytes));
    }
    return crime_committed("64 MiB");
}

CRIME(commit);

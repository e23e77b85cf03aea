/*
 * Crime 52: fills shared memory, which RLIMIT_DATA does not count.
 *
 * (none)    memory of its own making: killed at the first piece, violation, naming mmap
 * response  the shared memory that it is given, the room for its response, which may be far more than its memory:
 *           the pages count as its memory, and it is killed at that limit, out of memory
 *
 * Unconfined, each stops by itself at 192 MiB.
 */
#include "crime.h"
#include <sys/mman.h>

#define PIECE ((size_t)1 << 20)
#define PIECES 192

static const char *fill_its_own(void) {
    static void *pieces[PIECES];
    int count, i;
    for (count = 0; count < PIECES; count++) {
        pieces[count] = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (pieces[count] == MAP_FAILED) {
            break;
        }
        memset(pieces[count], 1, PIECE);
    }
    for (i = 0; i < count; i++) {
        munmap(pieces[i], PIECE);
    }
    return count == 0 ? crime_refused("mmap") : crime_committed("shared memory was filled");
}

static const char *fill_the_response(const crime_scene *scene) {
    int count;
    for (count = 0; count < PIECES; count++) {
        uint8_t *room = scene->host->reserve(scene->invocation, PIECE);
        if (room == NULL) {
            break;
        }
        memset(room, 'x', PIECE);
        scene->host->commit(scene->invocation, PIECE);
    }
    return crime_committed("the response was filled");
}

static const char *commit(const crime_scene *scene) {
    if (crime_is(scene, "")) {
        return fill_its_own();
    }
    return crime_is(scene, "response") && scene->invocation != NULL ? fill_the_response(scene) : crime_unknown(scene);
}

CRIME(commit);

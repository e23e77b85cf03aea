/*
 * Crime 51: allocates memory and touches it until it is stopped.
 *
 * Expected: killed by the kernel at the function's memory limit, and no other process with it. Where nobody counts
 * memory, malloc says no at the resource limit. Unconfined, it stops by itself at 4 GiB.
 */
#include "crime.h"

#define PIECE ((size_t)1 << 20)
#define PIECES 4096
#define PAGE 4096

static const char *commit(const crime_scene *scene) {
    static char *pieces[PIECES];
    const char *said;
    int i, count;
    (void)scene;
    for (count = 0; count < PIECES; count++) {
        size_t offset;
        volatile char *piece = pieces[count] = (char *)malloc(PIECE);
        if (piece == NULL) {
            break;
        }
        for (offset = 0; offset < PIECE; offset += PAGE) {
            piece[offset] = 1;
        }
    }
    said = count == PIECES ? crime_committed("4 GiB") : crime_refused("malloc");
    for (i = 0; i < count; i++) {
        free(pieces[i]);
    }
    return said;
}

CRIME(commit);

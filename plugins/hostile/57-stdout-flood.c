/*
 * Crime 57: writes to standard output without end: lines, and one line without an end.
 *
 * Expected: killed at its time limit; what the daemon passed on is bounded, a line that is too long says how much
 * was cut off, and one sentence says how much was dropped. Unconfined, it stops by itself at 1 GiB.
 */
#include "crime.h"

#define PIECE ((size_t)64 << 10)
#define PIECES 16384

static void flood(const char *bytes, int pieces) {
    int i;
    for (i = 0; i < pieces; i++) {
        if (write(STDOUT_FILENO, bytes, PIECE) < 0) {
            return;
        }
    }
}

static const char *commit(const crime_scene *scene) {
    static char bytes[PIECE];
    (void)scene;
    memset(bytes, 'x', PIECE);
    bytes[PIECE - 1] = '\n';
    flood(bytes, 1);
    memset(bytes, '\n', PIECE);
    flood(bytes, PIECES);
    return crime_committed("output without end");
}

CRIME(commit);

/*
 * Crime 58: writes more to standard output than anybody will keep, and expects to be heard.
 *
 * Expected: completes, whether or not anybody reads what the daemon writes: 512 KiB are twice what a function may
 * write in a second, and eight times what a pipe holds.
 */
#include "crime.h"

#define LINE ((size_t)256)
#define LINES 2048

static const char *commit(const crime_scene *scene) {
    char line[LINE];
    int i;
    (void)scene;
    memset(line, 'x', LINE);
    line[LINE - 1] = '\n';
    for (i = 0; i < LINES; i++) {
        if (write(STDOUT_FILENO, line, LINE) != (ssize_t)LINE) {
            return crime_refused("write");
        }
    }
    return crime_committed("512 KiB of output");
}

CRIME(commit);

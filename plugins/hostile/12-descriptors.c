/*
 * Crime 12: looks for descriptors that it was left by mistake.
 *
 * Expected: those that are documented, with what they are, and no other: standard input, which is a device, the output
 * pipe twice, and in a worker the bell of its channel.
 */
#include "crime.h"
#include <fcntl.h>
#include <sys/stat.h>

#define HIGHEST 4096

static const char *kind(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFCHR:
        return "device";
    case S_IFIFO:
        return "pipe";
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFSOCK:
        return "socket";
    default:
        return "other";
    }
}

static const char *commit(const crime_scene *scene) {
    char text[200];
    size_t length = 0;
    int number;
    (void)scene;
    for (number = 0; number < HIGHEST && length < sizeof(text); number++) {
        struct stat found;
        if (fcntl(number, F_GETFD) >= 0 && fstat(number, &found) == 0) {
            length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%d %s", length > 0 ? ", " : "", number,
                                       kind(found.st_mode));
        }
    }
    return crime_committed(text);
}

CRIME(commit);

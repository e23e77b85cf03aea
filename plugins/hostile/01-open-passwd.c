/*
 * Crime 1: opens a file outside its view, /etc/passwd.
 *
 * Expected: at invoke nothing can be opened any more, EACCES; in init, where the loader opens libraries, there is no
 * /etc, ENOENT. Should it succeed, the answer is the file's first line.
 */
#include "crime.h"
#include <fcntl.h>

static const char *commit(const crime_scene *scene) {
    char text[200];
    ssize_t length;
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    (void)scene;
    if (file < 0) {
        return crime_refused("open");
    }
    length = read(file, text, sizeof(text) - 1);
    close(file);
    if (length < 0) {
        return crime_refused("read");
    }
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return crime_committed(text);
}

CRIME(commit);

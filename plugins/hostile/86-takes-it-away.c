/*
 * Crime 86: takes the ground from under the daemon's feet: the pages of its own region, the size of the file; and tries
 * to write what it can only read.
 */
#include "channel.h"

#include <fcntl.h>
#include <sys/mman.h>

/* Of either region, all but its slab. */
#define FIRST_PAGES ((size_t)(1 + CHANNEL_DEPTH) * CHANNEL_PAGE)

static const char *commit(const crime_scene *scene) {
    const channel own = channel_find(scene);
    int fd;
    if (crime_is(scene, "")) {
        return crime_result("madvise", madvise((void *)own.replies, FIRST_PAGES, MADV_REMOVE));
    }
    if (crime_is(scene, "drops")) {
        /* Its own view of the pages: they are the file's, and come back. */
        return crime_result("madvise", madvise((void *)own.replies, FIRST_PAGES, MADV_DONTNEED));
    }
    if (crime_is(scene, "descriptors")) {
        /* Those of the regions are closed; the bell has no size. */
        for (fd = 3; fd < CHANNEL_BELL; fd++) {
            if (lseek(fd, 0, SEEK_CUR) != -1 || errno != EBADF) {
                return crime_committed("found a descriptor");
            }
        }
        return crime_refused("lseek");
    }
    if (crime_is(scene, "truncates")) {
        return crime_result("ftruncate", ftruncate(CHANNEL_BELL, 0));
    }
    if (crime_is(scene, "punches")) {
        const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        return crime_result("fallocate", fallocate(CHANNEL_BELL, punch, 0, CHANNEL_PAGE));
    }
    if (crime_is(scene, "unmaps")) {
        munmap((void *)own.replies, FIRST_PAGES);
        return "";
    }
    if (crime_is(scene, "wants-to-write")) {
        return crime_result("mprotect", mprotect((void *)own.requests, CHANNEL_PAGE, PROT_READ | PROT_WRITE));
    }
    if (crime_is(scene, "writes")) {
        own.requests->posted = 0;
        return crime_committed("wrote a request");
    }
    return crime_unknown(scene);
}

CRIME(commit);

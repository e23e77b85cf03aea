/*
 * Crime 9: makes files in memory, which no resource limit counts, until there are no more descriptors. Or shares
 * anonymous memory, or hides it.
 *
 * Expected: killed at the first. Should there be any, they are empty, and closed in the end.
 */
#include "crime.h"
#include <sys/mman.h>

#define FILES 4096
#define PAGE 4096

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {"share", "mmap", SYS_mmap, {0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0}},
        {"lock", "mmap", SYS_mmap, {0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0}},
        {"grow", "mmap", SYS_mmap, {0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0}},
        {NULL, "mlockall", SYS_mlockall, {0}},
        {NULL, "memfd_secret", CRIME_GIVES_FD | SYS_memfd_secret, {0}},
    };
    static int files[FILES];
    const char *said;
    int i, count;
    if (!crime_is(scene, "")) {
        return CRIME_MAKE(scene, calls);
    }
    for (count = 0; count < FILES; count++) {
        files[count] = memfd_create("crime", MFD_CLOEXEC);
        if (files[count] < 0) {
            break;
        }
    }
    said = count == 0 ? crime_refused("memfd_create") : crime_committed("memfd_create");
    for (i = 0; i < count; i++) {
        close(files[i]);
    }
    return said;
}

CRIME(commit);

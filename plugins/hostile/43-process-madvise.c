/*
 * Crime 43: advises the kernel about the memory of others, and about its own what punches holes into files.
 *
 * Expected: killed, each of them. What is advised about is missing.
 */
#include "crime.h"
#include <sys/mman.h>

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {NULL, "process_madvise", SYS_process_madvise, {-1, 0, 0, MADV_COLD, 0}},
        {"remove", "madvise", SYS_madvise, {0, 0, MADV_REMOVE}},
        {"poison", "madvise", SYS_madvise, {0, 0, MADV_HWPOISON}},
        {"populate", "madvise", SYS_madvise, {0, 0, MADV_POPULATE_WRITE}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

/*
 * Crime 2: changes its own code: opens the shared object that it was loaded from to write to it. Or cuts it off, or
 * puts another in its place.
 *
 * Expected: at invoke nothing can be opened; in init it is refused as well. Calls that change files by name are killed.
 * Should it get further, nothing is written, and the names are such that there is nothing to change.
 */
#include "crime.h"
#include <dlfcn.h>
#include <fcntl.h>

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {NULL, "truncate", SYS_truncate, {(long)"crime-does-not-exist", 0}},
        {NULL, "unlink", SYS_unlink, {(long)"crime-does-not-exist"}},
        {NULL, "rename", SYS_rename, {(long)"crime-does-not-exist", (long)"crime"}},
        {NULL, "link", SYS_link, {(long)"crime-does-not-exist", (long)"crime"}},
        {NULL, "mkdir", SYS_mkdir, {(long)"crime-does-not-exist/crime", 0700}},
    };
    Dl_info own;
    int file;
    if (!crime_is(scene, "")) {
        return CRIME_MAKE(scene, calls);
    }
    /* The array is as good a place of this object's as any. */
    if (dladdr(crime_text, &own) == 0) {
        return crime_refused("dladdr");
    }
    file = open(own.dli_fname, O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
        close(file);
    }
    return crime_result("open", file);
}

CRIME(commit);

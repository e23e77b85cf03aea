/*
 * Crime 6: opens files by the other calls that do: openat2, handles, creat, mount trees.
 *
 * Expected: killed, each of them.
 */
#include "crime.h"
#include <fcntl.h>

static const char *commit(const crime_scene *scene) {
    /* struct open_how: flags, mode, resolve. */
    const uint64_t how[3] = {O_RDONLY | O_CLOEXEC, 0, 0};
    /* struct file_handle: its length, its type. */
    uint32_t handle[2] = {0, 0};
    int mount = 0;
    const crime_call calls[] = {
        {NULL, "openat2", CRIME_GIVES_FD | SYS_openat2, {AT_FDCWD, (long)"/etc/passwd", (long)how, sizeof(how)}},
        {NULL, "open_by_handle_at", CRIME_GIVES_FD | SYS_open_by_handle_at, {AT_FDCWD, (long)handle, O_RDONLY}},
        {NULL, "name_to_handle_at", SYS_name_to_handle_at, {AT_FDCWD, (long)"/", (long)handle, (long)&mount, 0}},
        {NULL, "creat", CRIME_GIVES_FD | SYS_creat, {(long)"crime-does-not-exist/crime", 0600}},
        {NULL, "open_tree", CRIME_GIVES_FD | SYS_open_tree, {AT_FDCWD, (long)"/", 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

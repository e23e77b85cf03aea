/*
 * Crime 7: makes a device, mounts, and moves roots.
 *
 * Expected: killed, each of them. Names and numbers are such that nothing is there to be made or mounted.
 */
#include "crime.h"
#include <fcntl.h>
#include <sys/stat.h>

#define NULL_DEVICE 0x103

static const char *commit(const crime_scene *scene) {
    const char *nothing = "crime-does-not-exist";
    const crime_call calls[] = {
        {NULL, "mknod", SYS_mknod, {(long)"crime-does-not-exist/null", S_IFCHR | 0600, NULL_DEVICE}},
        {NULL, "mknodat", SYS_mknodat, {AT_FDCWD, (long)"crime-does-not-exist/null", S_IFCHR | 0600, NULL_DEVICE}},
        {NULL, "mount", SYS_mount, {(long)nothing, (long)nothing, (long)"tmpfs", 0, 0}},
        {NULL, "umount2", SYS_umount2, {(long)nothing, 0}},
        {NULL, "pivot_root", SYS_pivot_root, {(long)nothing, (long)nothing}},
        {NULL, "fsopen", CRIME_GIVES_FD | SYS_fsopen, {(long)nothing, 0}},
        {NULL, "fsmount", CRIME_GIVES_FD | SYS_fsmount, {-1, 0, 0}},
        {NULL, "move_mount", SYS_move_mount, {-1, (long)"", -1, (long)"", 0}},
        {NULL, "mount_setattr", SYS_mount_setattr, {-1, (long)"", 0, 0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

/*
 * Crime 11: learns of files, or changes what is said of them, without opening any: names, modes, owners, times,
 * attributes, directories, events.
 *
 * Expected: what libraries ask for is refused, EACCES, everything else is killed.
 */
#include "crime.h"
#include <fcntl.h>
#include <sys/stat.h>

static const char *commit(const crime_scene *scene) {
    static uint64_t room[64];
    const char *passwd = "/etc/passwd";
    const char *nothing = "crime-does-not-exist";
    const crime_call calls[] = {
        {NULL, "stat", SYS_stat, {(long)passwd, (long)room}},
        {NULL, "newfstatat", SYS_newfstatat, {AT_FDCWD, (long)passwd, (long)room, 0}},
        {NULL, "statx", SYS_statx, {AT_FDCWD, (long)passwd, 0, 0, (long)room}},
        {NULL, "access", SYS_access, {(long)passwd, R_OK}},
        {NULL, "readlink", SYS_readlink, {(long)"/proc/self/exe", (long)room, sizeof(room)}},
        {NULL, "getcwd", SYS_getcwd, {(long)room, sizeof(room)}},
        {NULL, "statfs", SYS_statfs, {(long)"/", (long)room}},
        {NULL, "getxattr", SYS_getxattr, {(long)passwd, (long)"user.crime", (long)room, sizeof(room)}},
        {NULL, "getdents64", SYS_getdents64, {-1, (long)room, sizeof(room)}},
        {NULL, "chmod", SYS_chmod, {(long)nothing, 0777}},
        {NULL, "fchmodat", SYS_fchmodat, {AT_FDCWD, (long)nothing, 0777}},
        {NULL, "chown", SYS_chown, {(long)nothing, 0, 0}},
        {NULL, "utimensat", SYS_utimensat, {AT_FDCWD, (long)nothing, 0, 0}},
        {NULL, "inotify_init1", CRIME_GIVES_FD | SYS_inotify_init1, {0}},
        {NULL, "fanotify_init", CRIME_GIVES_FD | SYS_fanotify_init, {0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

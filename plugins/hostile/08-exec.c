/*
 * Crime 8: becomes another program: the dynamic loader, which is among the libraries that it sees, and which says its
 * version and exits. Or one from memory.
 *
 * Expected: killed.
 */
#include "crime.h"
#include <fcntl.h>
#include <sys/mman.h>

static const char *commit(const crime_scene *scene) {
    static const char loader[] = "/lib64/ld-linux-x86-64.so.2";
    const char *arguments[] = {loader, "--version", NULL};
    const char *environment[] = {NULL};
    const crime_call calls[] = {
        {NULL, "execve", SYS_execve, {(long)loader, (long)arguments, (long)environment}},
        {NULL, "execveat", SYS_execveat, {AT_FDCWD, (long)loader, (long)arguments, (long)environment, 0}},
        {"handle", "execveat", SYS_execveat, {-1, (long)"", (long)arguments, (long)environment, AT_EMPTY_PATH}},
        {"memory", "memfd_create", CRIME_GIVES_FD | SYS_memfd_create, {(long)"crime", MFD_CLOEXEC}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

/*
 * Crime 33: reads the memory of another process, that whose pid is the target: where its own code lies, for one that
 * was forked like it has the same there. Or writes it, or tries by way of /proc.
 *
 * Expected: killed at the calls; /proc is not there in init, and nothing can be opened at invoke. What is written is
 * nothing.
 */
#include "crime.h"
#include <fcntl.h>
#include <sys/uio.h>

static const char *commit(const crime_scene *scene) {
    static char here[16], there[] = "what lies there";
    const long pid = crime_pid(scene);
    const struct iovec local = {here, sizeof(here)}, remote = {there, sizeof(there)};
    const crime_call calls[] = {
        {NULL, "process_vm_readv", SYS_process_vm_readv, {pid, (long)&local, 1, (long)&remote, 1, 0}},
        {NULL, "process_vm_writev", SYS_process_vm_writev, {pid, 0, 0, 0, 0, 0}},
        {NULL, "process_mrelease", SYS_process_mrelease, {-1, 0}},
    };
    if (crime_is(scene, "proc")) {
        char path[64];
        int memory;
        snprintf(path, sizeof(path), "/proc/%ld/mem", pid);
        memory = open(path, O_RDONLY | O_CLOEXEC);
        if (memory >= 0) {
            close(memory);
        }
        return crime_result("open", memory);
    }
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

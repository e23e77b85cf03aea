/*
 * Crime 32: traces another process, that whose pid is the target.
 *
 * Expected: killed at the call. Should it succeed, the process is not stopped, and let go again.
 */
#include "crime.h"
#include <sys/ptrace.h>
#include <sys/wait.h>

static const char *commit(const crime_scene *scene) {
    const pid_t pid = (pid_t)crime_pid(scene);
    const char *said = crime_result("ptrace", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
    /* One can only be let go of that is stopped. */
    if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0) {
        waitpid(pid, NULL, __WALL);
        ptrace(PTRACE_DETACH, pid, NULL, NULL);
    }
    return said;
}

CRIME(commit);

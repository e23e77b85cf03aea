/*
 * Crime 24: makes a child by clone3, whose flags lie in memory, where no filter sees them.
 *
 * Expected: there is no such call, ENOSYS, and C libraries fall back to clone. Should there be a child, it exits at once.
 */
#include "crime.h"
#include <signal.h>
#include <sys/wait.h>

static const char *commit(const crime_scene *scene) {
    /* struct clone_args: the fifth word is the signal at the child's end. */
    uint64_t arguments[8] = {0, 0, 0, 0, SIGCHLD, 0, 0, 0};
    long child = syscall(SYS_clone3, arguments, sizeof(arguments));
    (void)scene;
    if (child == 0) {
        _exit(0);
    }
    if (child > 0) {
        waitpid((pid_t)child, NULL, 0);
    }
    return crime_result("clone3", child);
}

CRIME(commit);

/*
 * Crime 44: installs filters of system calls of its own: one with a listener, which would answer its calls in the
 * daemon's place, or one that fills the host's log.
 *
 * Expected: at invoke no filter can be installed, EACCES; in init it is killed for either. The older call for it is
 * killed always. The filter allows everything.
 */
#include "crime.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

static const char *commit(const crime_scene *scene) {
    struct sock_filter allow[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
    const struct sock_fprog program = {1, allow};
    const crime_call calls[] = {
        {"listen", "seccomp", CRIME_GIVES_FD | SYS_seccomp,
         {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, (long)&program}},
        {"log", "seccomp", SYS_seccomp, {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, (long)&program}},
        {"all-threads", "seccomp", SYS_seccomp, {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, (long)&program}},
        {NULL, "prctl", SYS_prctl, {PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&program, 0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

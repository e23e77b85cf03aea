/*
 * Crime 49: changes the host: its kernel, its clock, its name, its modules, its swap, its ports. Or reads its log.
 *
 * Expected: killed, each of them. Numbers and names are such that there is nothing to do.
 */
#include "crime.h"
#include <sys/time.h>
#include <time.h>

#define NO_SUCH -1

static const char *commit(const crime_scene *scene) {
    const struct timeval never = {0, -1};
    const struct timespec never_ns = {0, -1};
    const char *nothing = "crime-does-not-exist";
    const crime_call calls[] = {
        {NULL, "kexec_load", SYS_kexec_load, {0, 0, 0, NO_SUCH}},
        {NULL, "kexec_file_load", SYS_kexec_file_load, {-1, -1, 0, 0, NO_SUCH}},
        {NULL, "reboot", SYS_reboot, {0, 0, 0, 0}},
        {NULL, "settimeofday", SYS_settimeofday, {(long)&never, 0}},
        {NULL, "clock_settime", SYS_clock_settime, {CLOCK_REALTIME, (long)&never_ns}},
        {NULL, "adjtimex", SYS_adjtimex, {0}},
        {NULL, "clock_adjtime", SYS_clock_adjtime, {CLOCK_REALTIME, 0}},
        {NULL, "sethostname", SYS_sethostname, {0, -1}},
        {NULL, "setdomainname", SYS_setdomainname, {0, -1}},
        {NULL, "init_module", SYS_init_module, {0, 0, 0}},
        {NULL, "finit_module", SYS_finit_module, {-1, 0, 0}},
        {NULL, "delete_module", SYS_delete_module, {(long)nothing, 0}},
        {NULL, "swapon", SYS_swapon, {(long)nothing, 0}},
        {NULL, "swapoff", SYS_swapoff, {(long)nothing}},
        {NULL, "acct", SYS_acct, {(long)nothing}},
        {NULL, "quotactl", SYS_quotactl, {NO_SUCH, 0, 0, 0}},
        {NULL, "syslog", SYS_syslog, {NO_SUCH, 0, 0}},
        {NULL, "iopl", SYS_iopl, {4}},
        {NULL, "ioperm", SYS_ioperm, {-1, 1, 1}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

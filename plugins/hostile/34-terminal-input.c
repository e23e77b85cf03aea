/*
 * Crime 34: types into the terminal of whoever started the daemon, or pastes into a console.
 *
 * Expected: killed at ioctl, as for whatever else is asked of a descriptor. That a terminal is asked for is refused,
 * EACCES: it is how stdio finds out that it has none.
 */
#include "crime.h"
#include <sys/ioctl.h>

#define TIOCLINUX_PASTE 3
/* Drivers take the lower half of the number. */
#define WIDER (1L << 32)

static const char *commit(const crime_scene *scene) {
    static char room[64] = {TIOCLINUX_PASTE};
    const crime_call calls[] = {
        {"type", "ioctl", SYS_ioctl, {0, TIOCSTI, (long)room}},
        {"type-wide", "ioctl", SYS_ioctl, {0, TIOCSTI | WIDER, (long)room}},
        {"paste", "ioctl", SYS_ioctl, {0, TIOCLINUX, (long)room}},
        {"size", "ioctl", SYS_ioctl, {1, TIOCGWINSZ, (long)room}},
        {"count", "ioctl", SYS_ioctl, {1, FIONREAD, (long)room}},
        {"async", "ioctl", SYS_ioctl, {1, FIOASYNC, (long)room}},
        {"is", "ioctl", SYS_ioctl, {1, TCGETS, (long)room}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

/*
 * Crime 71: sets a signal that is to go off in somebody else's request.
 *
 * (none)    by alarm
 * interval  by setitimer, again and again
 * timer     by timer_create
 *
 * Expected: killed at the call: violation, naming it. Unconfined, it goes off after a second.
 */
#include "crime.h"
#include <sys/time.h>
#include <time.h>

static const char *commit(const crime_scene *scene) {
    const struct itimerval interval = {{1, 0}, {1, 0}};
    timer_t timer;
    if (crime_is(scene, "")) {
        /* Not alarm(): the C library may make setitimer of it. */
        return crime_result("alarm", syscall(SYS_alarm, 1L));
    }
    if (crime_is(scene, "interval")) {
        return crime_result("setitimer", setitimer(ITIMER_REAL, &interval, NULL));
    }
    return crime_is(scene, "timer") ? crime_result("timer_create", timer_create(CLOCK_MONOTONIC, NULL, &timer))
                                    : crime_unknown(scene);
}

CRIME(commit);

/*
 * Crime 87: jams the bell, rings it without a reason as often as it can, and makes the word on which workers sleep
 * stir.
 */
#include "channel.h"

#include <linux/futex.h>

#define OFTEN 100000

static const char *commit(const crime_scene *scene) {
    const channel own = channel_find(scene);
    const uint64_t all = UINT64_MAX - 1;
    int turn;
    if (crime_is(scene, "")) {
        /* Whatever it holds is read away first. */
        uint64_t count;
        const ssize_t had = read(CHANNEL_BELL, &count, sizeof(count));
        (void)had;
        return crime_result("write", write(CHANNEL_BELL, &all, sizeof(all)) == sizeof(all) ? 0 : -1);
    }
    if (crime_is(scene, "storm")) {
        for (turn = 0; turn < OFTEN; turn++) {
            channel_ring();
        }
        return crime_committed("rang");
    }
    if (crime_is(scene, "wakes")) {
        for (turn = 0; turn < OFTEN; turn++) {
            own.replies->sleeping = (uint32_t)turn;
            syscall(SYS_futex, &own.requests->posted, FUTEX_WAKE, 1, NULL, NULL, 0);
        }
        return crime_committed("woke nobody");
    }
    return crime_unknown(scene);
}

CRIME(commit);

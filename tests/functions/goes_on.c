/*
 * goes_on: publishes its reply by itself, and computes on; after a moment without an invocation there is nobody left
 * who would wait for it.
 */
#include "../../plugins/hostile/channel.h"

static const char *commit(const crime_scene *scene) {
    const channel own = channel_find(scene);
    volatile uint32_t work = 0;
    channel_publish(channel_write(&own, own.sequence, own.request->tag, "here it is"), own.sequence);
    for (;;) {
        work = work + 1;
    }
    return crime_unknown(scene);
}

CRIME(commit);

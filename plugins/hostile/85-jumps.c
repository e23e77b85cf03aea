/*
 * Crime 85: lets the numbers that say where it is jump: that of its reply, and that of the request it has begun.
 * "claims" says that it has begun more than was posted, and stays busy: whatever waits behind it in the channel is to
 * be taken back, by a claim that cannot be.
 */
#include "channel.h"

static const char *commit(const crime_scene *scene) {
    const channel own = channel_find(scene);
    channel_reply *reply = channel_write(&own, own.sequence, own.request->tag, "jumped");
    if (crime_is(scene, "")) {
        /* By a whole round, to what this slot is used for next. */
        channel_publish(reply, own.sequence + CHANNEL_DEPTH);
    } else if (crime_is(scene, "back")) {
        channel_publish(reply, own.sequence - CHANNEL_DEPTH / 2);
    } else if (crime_is(scene, "claims")) {
        __atomic_store_n(&own.replies->claim, (uint64_t)own.sequence + 1000, __ATOMIC_SEQ_CST);
    } else {
        return crime_unknown(scene);
    }
    return channel_wait();
}

CRIME(commit);

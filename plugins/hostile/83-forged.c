/*
 * Crime 83: answers with a tag or a sequence number that no request had. It is killed: the reply has a foreign tag, or
 * is out of sequence.
 */
#include "channel.h"

static const char *commit(const crime_scene *scene) {
    const channel own = channel_find(scene);
    const uint64_t tag = own.request->tag;
    channel_reply *reply = channel_write(&own, own.sequence, tag, "forged");
    if (crime_is(scene, "")) {
        reply->tag = tag ^ 1;
        channel_publish(reply, own.sequence);
    } else if (crime_is(scene, "no-tag")) {
        reply->tag = 0;
        channel_publish(reply, own.sequence);
    } else if (crime_is(scene, "next")) {
        channel_publish(reply, own.sequence + 1);
    } else if (crime_is(scene, "far")) {
        channel_publish(reply, own.sequence + (UINT32_C(1) << 31));
    } else {
        return crime_unknown(scene);
    }
    return channel_wait();
}

CRIME(commit);

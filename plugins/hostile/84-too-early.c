/*
 * Crime 84: answers the next request before it is asked, and this one as it should. "told" reckons the next tag from
 * the last two, as if they were counted. The next request is that which finds a foreign tag; it is never the one that
 * was answered before.
 */
#include "channel.h"

static const char *commit(const crime_scene *scene) {
    const channel own = channel_find(scene);
    const uint32_t next = own.sequence + 1;
    const channel_request *before = channel_slot(own.requests, own.sequence - 1);
    uint64_t tag = own.request->tag;
    if (crime_is(scene, "told")) {
        tag += tag - before->tag;
    } else if (!crime_is(scene, "")) {
        return crime_unknown(scene);
    }
    channel_publish(channel_write(&own, next, tag, "before it was asked"), next);
    return crime_committed("answered the next request");
}

CRIME(commit);

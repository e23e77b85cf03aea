/*
 * Crime 79: says of its reply that it is longer than its room, by one byte and by everything; and that it is empty. Each length is refused and the worker killed ("a reply longer than its room", and for
 * the head "a reply with too many header fields"); an empty answer is one.
 */
#include "channel.h"

static const char *commit(const crime_scene *scene) {
    const channel own = channel_find(scene);
    channel_reply *reply = channel_write(&own, own.sequence, own.request->tag, "");
    if (crime_is(scene, "")) {
        reply->body_len = CHANNEL_INLINE + 1;
    } else if (crime_is(scene, "minus-one")) {
        reply->body_len = UINT64_MAX;
    } else if (crime_is(scene, "two-to-the-32")) {
        reply->body_len = UINT64_C(1) << 32;
    } else if (crime_is(scene, "wraps")) {
        /* The end of it, as a 64-bit number, is before its beginning. */
        reply->body_len = UINT64_MAX - CHANNEL_BODY;
    } else if (crime_is(scene, "beyond-the-slab")) {
        /* Its manifest says 4 KiB. */
        reply->in_slab = 1;
        reply->body_len = 4096 + 1;
    } else if (crime_is(scene, "head")) {
        reply->headers_len = 2048 + 1;
    } else if (crime_is(scene, "zero")) {
        /* It is what the function answers, then: nothing. */
        reply->body_len = 0;
    } else {
        return crime_unknown(scene);
    }
    channel_publish(reply, own.sequence);
    if (crime_is(scene, "zero")) {
        while (own.requests->taken != own.sequence) {
            const struct timespec moment = {0, 50000};
            nanosleep(&moment, NULL);
        }
        return "";
    }
    return channel_wait();
}

CRIME(commit);

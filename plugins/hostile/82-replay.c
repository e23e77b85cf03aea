/*
 * Crime 82: gives an old reply once more. It is killed: the reply has a foreign
 * tag, or is out of sequence.
 */
#include "channel.h"

static const char *commit(const crime_scene *scene) {
    const channel own = channel_find(scene);
    const uint32_t before = own.sequence - 1;
    const channel_reply *old = channel_slot(own.replies, before);
    memcpy((void *)((uint8_t *)own.reply + 4), (const uint8_t *)old + 4, CHANNEL_PAGE - 4);
    if (crime_is(scene, "")) {
        /* As if it were the answer to this request. */
        channel_publish(own.reply, own.sequence);
    } else if (crime_is(scene, "as-it-was")) {
        channel_publish(own.reply, before);
    } else {
        return crime_unknown(scene);
    }
    return channel_wait();
}

CRIME(commit);

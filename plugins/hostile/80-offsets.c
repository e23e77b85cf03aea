/*
 * Crime 80: encodes header fields that lie outside their room or reach into each other. It is killed: "a reply with malformed header fields", or too many.
 */
#include "channel.h"

/* The lengths of name and value, as they stand before each field. */
static uint8_t *put(uint8_t *to, uint16_t name, uint16_t value, const char *text) {
    memcpy(to, &name, sizeof(name));
    memcpy(to + 2, &value, sizeof(value));
    memcpy(to + 4, text, strlen(text));
    return to + 4 + strlen(text);
}

static const char *commit(const crime_scene *scene) {
    const channel own = channel_find(scene);
    channel_reply *reply = channel_write(&own, own.sequence, own.request->tag, "");
    uint8_t *fields = (uint8_t *)reply + CHANNEL_HEADERS;
    uint8_t *end = put(fields, 3, 1, "x-av");
    reply->header_count = 1;
    if (crime_is(scene, "")) {
        /* As far outside as two lengths can say. */
        end = put(fields, UINT16_MAX, UINT16_MAX, "x-av");
    } else if (crime_is(scene, "into-the-body")) {
        end = put(fields, 3, CHANNEL_BODY - CHANNEL_HEADERS, "x-av");
    } else if (crime_is(scene, "overlap")) {
        /* The first reaches into the second, which then begins in the middle of what its lengths were. */
        end = put(end, 3, 1, "x-bv");
        put(fields, 3, 3, "x-av");
        reply->header_count = 2;
    } else if (crime_is(scene, "one-more")) {
        reply->header_count = 2;
    } else if (crime_is(scene, "one-left")) {
        end = put(end, 3, 1, "x-bv");
    } else if (crime_is(scene, "trailers-beyond")) {
        reply->trailer_count = 1;
    } else if (crime_is(scene, "count-wraps")) {
        /* In sum 0, in 32 bits. */
        reply->trailer_count = UINT32_MAX;
    } else {
        return crime_unknown(scene);
    }
    reply->headers_len = (uint32_t)(end - fields);
    channel_publish(reply, own.sequence);
    return channel_wait();
}

CRIME(commit);

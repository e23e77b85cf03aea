/*
 * Crime 81: changes lengths, places and fields of a reply that it has published, over and over, while the daemon reads
 * it. It is answered by one of the two bodies, whole, or killed; which one it is, is chance. "echo" answers with the
 * body of the request, and breaks no rule.
 */
#include "channel.h"

#define SHORT 600
#define LONG 1200

static const char *commit(const crime_scene *scene) {
    uint32_t random = 1;
    if (crime_is(scene, "echo")) {
        ht_write_bytes(scene->host, scene->invocation, scene->request->body);
        return "";
    }
    if (!crime_is(scene, "")) {
        return crime_unknown(scene);
    }
    const channel own = channel_find(scene);
    channel_reply *reply = channel_write(&own, own.sequence, own.request->tag, "");
    uint8_t *fields = (uint8_t *)reply + CHANNEL_HEADERS;
    const uint16_t lengths[2] = {3, 1};
    memset((uint8_t *)reply + CHANNEL_BODY, '.', LONG);
    memcpy(fields, lengths, sizeof(lengths));
    memcpy(fields + 4, "x-av", 4);
    memcpy(fields + 8, lengths, sizeof(lengths));
    memcpy(fields + 12, "x-bw", 4);
    reply->body_len = SHORT;
    reply->headers_len = 8;
    reply->header_count = 1;
    channel_publish(reply, own.sequence);
    /* Until it is taken, or refused. */
    while (own.requests->taken != own.sequence) {
        random = random * 1664525 + 1013904223;
        reply->body_len = random & 0x10000 ? LONG : SHORT;
        if ((random & 0x1e0000) == 0) {
            reply->body_len = UINT64_MAX;
            reply->body_len = SHORT;
        }
        reply->headers_len = random & 0x200000 ? 16 : 8;
        reply->header_count = random & 0x400000 ? 2 : 1;
        reply->status = random & 0x7800000 ? 200 : 20000;
        reply->status = 200;
        *(volatile uint16_t *)fields = random & 0x8000000 ? 3 : UINT16_MAX;
        *(volatile uint16_t *)fields = 3;
    }
    return "";
}

CRIME(commit);

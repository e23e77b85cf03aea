/*
 * channel.h: what the crimes on the channel know of it, found as any plugin could find it, from the pointers that the
 * host hands out. The layout is that of sandbox/src/channel/layout.rs; where the two differ the crimes fail, and so do
 * their tests.
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "crime.h"

#include <time.h>

#define CHANNEL_PAGE 4096
#define CHANNEL_DEPTH 64
/* Where the header fields of a reply begin in its slot, and its body; and how long a body may be there, in bytes. */
#define CHANNEL_HEADERS 64
#define CHANNEL_BODY (CHANNEL_HEADERS + 2048)
#define CHANNEL_INLINE (CHANNEL_PAGE - CHANNEL_BODY)
/* The descriptor of the bell. */
#define CHANNEL_BELL 63
/* What `verdict` says of an invoke that returned. */
#define CHANNEL_RETURNED 1

/* The first page of the request region, which can only be read. */
typedef struct channel_requests {
    volatile uint32_t posted, bell, taken, resume;
} channel_requests;

/* The first page of the reply region. */
typedef struct channel_replies {
    volatile uint32_t sleeping, nothing;
    volatile uint64_t claim;
} channel_replies;

/* The beginning of a slot of either region. */
typedef struct channel_request {
    volatile uint64_t tag;
} channel_request;

typedef struct channel_reply {
    volatile uint32_t sequence, verdict;
    volatile uint64_t tag, body_len, started_ns, finished_ns;
    volatile int32_t result;
    volatile uint32_t status, headers_len, header_count, in_slab, trailer_count;
} channel_reply;

typedef struct channel {
    uint32_t sequence; /* of the request under way */
    channel_requests *requests;
    channel_replies *replies;
    channel_request *request;
    channel_reply *reply;
} channel;

static uint8_t *channel_page(const void *pointer) {
    return (uint8_t *)((uintptr_t)pointer & ~(uintptr_t)(CHANNEL_PAGE - 1));
}

/* The slot of a sequence number, given a region's first page. */
static void *channel_slot(void *region, uint32_t sequence) {
    return (uint8_t *)region + CHANNEL_PAGE + (size_t)(sequence % CHANNEL_DEPTH) * CHANNEL_PAGE;
}

/* The channel, as the request that is under way shows it; its payload must be short, and so in its slot. */
__attribute__((unused)) static channel channel_find(const crime_scene *scene) {
    channel found;
    const uint8_t *page;
    found.request = (channel_request *)channel_page(scene->request->method.data);
    found.reply = (channel_reply *)channel_page(scene->host->reserve(scene->invocation, 1));
    /* Back to the first page: a slot has a verdict, or was never used, and then it has no tag either. */
    page = (const uint8_t *)found.reply;
    do {
        page -= CHANNEL_PAGE;
        found.replies = (channel_replies *)page;
    } while (found.replies->nothing != 0 || found.replies->claim == 0);
    found.sequence = (uint32_t)found.replies->claim;
    found.requests = (channel_requests *)((uint8_t *)found.request - ((uint8_t *)found.reply - page));
    return found;
}

/* Writes a flawless reply with this text into a slot, for a request of this tag, but for its sequence number. */
__attribute__((unused)) static channel_reply *channel_write(const channel *to, uint32_t sequence, uint64_t tag,
                                                            const char *text) {
    channel_reply *reply = channel_slot(to->replies, sequence);
    reply->verdict = CHANNEL_RETURNED;
    reply->tag = tag;
    reply->body_len = strlen(text);
    reply->started_ns = reply->finished_ns = 0;
    reply->result = 0;
    reply->status = 200;
    reply->headers_len = reply->header_count = reply->trailer_count = reply->in_slab = 0;
    memcpy((uint8_t *)reply + CHANNEL_BODY, text, strlen(text));
    return reply;
}

/* Rings as a worker does that has published something. */
static void channel_ring(void) {
    const uint64_t once = 1;
    const ssize_t written = write(CHANNEL_BELL, &once, sizeof(once));
    (void)written;
}

/* Publishes what was written, under this sequence number. */
__attribute__((unused)) static void channel_publish(channel_reply *reply, uint32_t sequence) {
    __atomic_store_n(&reply->sequence, sequence, __ATOMIC_RELEASE);
    channel_ring();
}

/* Waits to be killed, and answers nothing else meanwhile. */
__attribute__((unused)) static const char *channel_wait(void) {
    const struct timespec enough = {2, 0};
    nanosleep(&enough, NULL);
    return crime_committed("nobody noticed");
}

#endif

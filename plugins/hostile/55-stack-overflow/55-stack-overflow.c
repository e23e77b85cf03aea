/*
 * Crime 55: recurses until the stack is used up.
 *
 * Expected: a fault: 502, outcome "fault", naming SIGSEGV. Where stacks have no limit it stops by itself
 * at 4 GiB, and fails.
 */
#include <hairtrigger.h>

#define FRAME 1024
#define FRAMES ((uint32_t)4 << 20)

/* The frame is written before and read after the call, through a volatile: no compiler can turn this into a
 * loop or leave the frame out. */
static uint32_t descend(uint32_t depth) {
    volatile uint8_t frame[FRAME];
    uint32_t below;
    frame[depth % FRAME] = 1;
    below = depth == FRAMES ? 0 : descend(depth + 1);
    return below + frame[depth % FRAME];
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    (void)invocation;
    (void)request;
    return descend(0) > 0 ? (ht_log_text(host, HT_LOG_ERROR, "nobody stopped the recursion"), 1) : 2;
}

HT_FUNCTION(invoke);

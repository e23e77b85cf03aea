/*
 * Crime 59: computes without end.
 *
 * Expected: killed at its time limit: 504, outcome "timeout". Unconfined, it stops by itself a minute after
 * that, and fails.
 */
#include <hairtrigger.h>

#define MINUTE_NS 60000000000u

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    volatile uint32_t work = 0;
    (void)state;
    (void)invocation;
    do {
        do {
            work = work + 1;
        } while (work % (1u << 20) != 0);
    } while (host->now_ns() < request->deadline_ns + MINUTE_NS);
    ht_log_text(host, HT_LOG_ERROR, "nobody stopped the loop");
    return 1;
}

HT_FUNCTION(invoke);

/*
 * Crime 63: ends the process with success instead of answering.
 *
 * Expected: never a success: 502, outcome "exited", with code 0.
 */
#include <hairtrigger.h>
#include <stdlib.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)host;
    (void)state;
    (void)invocation;
    (void)request;
    exit(0);
}

HT_FUNCTION(invoke);

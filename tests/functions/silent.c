/* silent: answers every request with 200 and no body. */
#include <hairtrigger.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)host;
    (void)state;
    (void)invocation;
    (void)request;
    return 0;
}

HT_FUNCTION(invoke);

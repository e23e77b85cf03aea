/* Built for a version of the contract that does not exist yet. */
#include <hairtrigger.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    (void)request;
    return ht_write_text(host, invocation, "should never run");
}

const ht_function hairtrigger_function
    __attribute__((visibility("default"))) = {999, (uint32_t)sizeof(ht_function), NULL, NULL, invoke, NULL};

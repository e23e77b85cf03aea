/* Refuses in init, and says why. */
#include <hairtrigger.h>

static int32_t init(const ht_host *host, void **state) {
    (void)state;
    ht_log_text(host, HT_LOG_ERROR, "there is no model to load");
    return 7;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    (void)request;
    return ht_write_text(host, invocation, "should never run");
}

HT_FUNCTION_WITH(init, NULL, invoke, NULL);

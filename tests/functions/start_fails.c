/* Every worker of it refuses to start. */
#include <hairtrigger.h>

static int32_t worker_start(const ht_host *host, void *state) {
    (void)host;
    (void)state;
    return 1;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    (void)request;
    return ht_write_text(host, invocation, "should never run");
}

HT_FUNCTION_WITH(NULL, worker_start, invoke, NULL);

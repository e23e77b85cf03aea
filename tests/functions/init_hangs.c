/* Never returns from init, and says when it is there. */
#define _POSIX_C_SOURCE 200809L
#include <hairtrigger.h>
#include <time.h>

static int32_t init(const ht_host *host, void **state) {
    (void)state;
    ht_log_text(host, HT_LOG_INFO, "this takes for ever");
    for (;;) {
        struct timespec second = {1, 0};
        nanosleep(&second, NULL);
    }
    return 0;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    (void)request;
    return ht_write_text(host, invocation, "should never run");
}

HT_FUNCTION_WITH(init, NULL, invoke, NULL);

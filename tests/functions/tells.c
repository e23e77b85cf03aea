/* tells: answers with the fields that it was given, a line each. */
#include <hairtrigger.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    uint32_t i;
    (void)state;
    for (i = 0; i < request->header_count; i++) {
        ht_write_bytes(host, invocation, request->headers[i].name);
        ht_write_text(host, invocation, ": ");
        ht_write_bytes(host, invocation, request->headers[i].value);
        ht_write_text(host, invocation, "\n");
    }
    return 0;
}

HT_FUNCTION(invoke);

/* Breaks the contract on purpose: answers with the byte behind the body. Proves that the ABI host under the
 * address sanitizer would tell. */
#include <hairtrigger.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    return request->body.len == 0 ? 0 : host->write(invocation, request->body.data, request->body.len + 1);
}

HT_FUNCTION(invoke);

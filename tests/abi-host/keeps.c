/* Breaks the contract on purpose: answers with the body of the request before. Proves that the ABI host under
 * the address sanitizer would tell. */
#include <hairtrigger.h>

static ht_bytes before;

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    int32_t result = before.len == 0 ? 0 : ht_write_bytes(host, invocation, before);
    (void)state;
    before = request->body;
    return result;
}

HT_FUNCTION(invoke);

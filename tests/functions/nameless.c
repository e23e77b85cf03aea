/* Names itself with bytes that are no text, and aborts. */
#include <hairtrigger.h>
#include <stdlib.h>
#include <sys/prctl.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    (void)request;
    if (prctl(PR_SET_NAME, "\xff\xfe) Z") != 0) {
        return ht_write_text(host, invocation, "it could not");
    }
    abort();
}

HT_FUNCTION(invoke);

/* Makes a denied call before anybody has asked it anything: while it is loaded. */
#include <hairtrigger.h>
#include <sys/socket.h>

__attribute__((constructor)) static void early(void) { socket(AF_INET, SOCK_STREAM, 0); }

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    (void)request;
    return ht_write_text(host, invocation, "should never run");
}

HT_FUNCTION(invoke);

/*
 * barrier: `membarrier` with the operation that the query names.
 */
#define _GNU_SOURCE
#include <hairtrigger.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    char text[16] = {0};
    (void)state;
    memcpy(text, request->query.data, request->query.len < 15 ? request->query.len : 15);
    return ht_write_text(host, invocation, syscall(SYS_membarrier, atoi(text), 0, 0) >= 0 ? "done" : "failed");
}

HT_FUNCTION(invoke);

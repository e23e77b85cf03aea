/* Writes more in init than a pipe holds, and then refuses, if its environment says so. */
#include <hairtrigger.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINES = 2000 };

static int32_t init(const ht_host *host, void **state) {
    int line;
    (void)state;
    for (line = 1; line <= LINES; line++) {
        fprintf(stderr, "line %04d of %d, which together are more than 64 KiB\n", line, LINES);
    }
    if (getenv("REFUSES") == NULL) {
        return 0;
    }
    ht_log_text(host, HT_LOG_ERROR, "all is written");
    return 7;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    (void)request;
    return ht_write_text(host, invocation, "fine");
}

HT_FUNCTION_WITH(init, NULL, invoke, NULL);

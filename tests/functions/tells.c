/*
 * tells: answers with the fields and trailers that it was given, a line each, and with the body if the query is
 * "body". Sends trailers of its own.
 */
#include <hairtrigger.h>
#include <stdio.h>

static void tell(const ht_host *host, ht_invocation *invocation, const char *what, const ht_header *field) {
    ht_write_text(host, invocation, what);
    ht_write_bytes(host, invocation, field->name);
    ht_write_text(host, invocation, ": ");
    ht_write_bytes(host, invocation, field->value);
    ht_write_text(host, invocation, "\n");
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    char count[32];
    uint32_t i;
    (void)state;
    for (i = 0; i < request->header_count; i++) {
        tell(host, invocation, "", &request->headers[i]);
    }
    if (HT_HAS(ht_request, request, trailer_count)) {
        for (i = 0; i < request->trailer_count; i++) {
            tell(host, invocation, "trailer ", &request->trailers[i]);
        }
    }
    if (ht_equal(request->query, "body")) {
        ht_write_bytes(host, invocation, request->body);
    }
    if (HT_HAS(ht_host, host, add_trailer)) {
        snprintf(count, sizeof(count), "%zu", request->body.len);
        host->add_trailer(invocation, HT_STR("x-received"), count, strlen(count));
        host->add_header(invocation, HT_STR("x-added"), HT_STR("between trailers"));
        host->add_trailer(invocation, HT_STR("set-cookie"), HT_STR("too=late"));
        if (host->add_trailer(invocation, HT_STR("x bad"), HT_STR("")) != HT_INVALID) {
            return 1;
        }
    }
    return 0;
}

HT_FUNCTION(invoke);

/*
 * {{name}}: greets, and says in capitals what it was sent.
 *
 *     curl http://127.0.0.1:8080/{{name}}
 *     curl --data 'quietly' http://127.0.0.1:8080/{{name}}
 */
#include <ctype.h>
#include <hairtrigger.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    uint8_t *room;
    (void)state;

    host->add_header(invocation, HT_STR("content-type"), HT_STR("text/plain; charset=utf-8"));
    if (ht_equal(request->method, "GET") || ht_equal(request->method, "HEAD")) {
        return ht_write_text(host, invocation, "Hello from {{name}}\n");
    }
    if (request->body.len == 0) {
        host->set_status(invocation, 400);
        return ht_write_text(host, invocation, "Send a body to be said in capitals.\n");
    }
    room = host->reserve(invocation, request->body.len);
    if (room == NULL) {
        return 1; /* longer than max_response */
    }
    for (size_t i = 0; i < request->body.len; i++) {
        room[i] = (uint8_t)toupper(request->body.data[i]);
    }
    return host->commit(invocation, request->body.len);
}

HT_FUNCTION(invoke);

/*
 * echo: sends a request's body back with the content type it came with. A GET has no body, so it is
 * answered with what was asked for.
 *
 *     curl --data-binary @photo.jpg -H 'content-type: image/jpeg' http://127.0.0.1:8080/echo
 *     curl 'http://127.0.0.1:8080/echo/a/b?c=d'
 *
 * It is also the tutorial: everything a function in C needs, with the reasons beside it. The contract, call
 * by call, is in hairtrigger.h.
 */
#include <hairtrigger.h>

/* "GET /echo/a/b?c=d\n", as plain text. */
static int32_t report(const ht_host *host, ht_invocation *invocation, const ht_request *request) {
    /* HT_STR gives a literal as address and length: the host wants lengths, never a terminating NUL. */
    int32_t result = host->add_header(invocation, HT_STR("content-type"), HT_STR("text/plain; charset=utf-8"));

    /* The body grows with each write. Nothing is sent before invoke has returned 0. */
    if (result == HT_OK) {
        result = ht_write_bytes(host, invocation, request->method);
    }
    if (result == HT_OK) {
        result = ht_write_text(host, invocation, " ");
    }
    if (result == HT_OK) {
        result = ht_write_bytes(host, invocation, request->path);
    }
    /* Path and query come apart, as they were sent: percent-encoding is for the function to undo. */
    if (result == HT_OK && request->query.len > 0) {
        result = ht_write_text(host, invocation, "?");
        if (result == HT_OK) {
            result = ht_write_bytes(host, invocation, request->query);
        }
    }
    if (result == HT_OK) {
        result = ht_write_text(host, invocation, "\n");
    }
    return result;
}

/* The body as it came. */
static int32_t echo(const ht_host *host, ht_invocation *invocation, const ht_request *request) {
    /* Names of header fields are in lower case, whatever the client wrote. The field found is the host's: it
     * is valid as long as the request, which is until invoke returns, and need not be freed. */
    const ht_header *type = ht_find_header(request, "content-type");
    ht_bytes type_value = type != NULL ? type->value : ht_text("application/octet-stream");

    int32_t result = host->add_header(invocation, HT_STR("content-type"), type_value.data, type_value.len);
    if (result == HT_OK) {
        /* Copied before the call returns. A function that computes its body would rather ask for room with
         * host->reserve, write there, and host->commit. */
        result = ht_write_bytes(host, invocation, request->body);
    }
    return result;
}

/* Called for each request, one at a time, on the one thread of this process. */
static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    int32_t result;
    (void)state; /* what init stored; this function has no init */

    if (ht_equal(request->method, "GET") || ht_equal(request->method, "HEAD")) {
        result = report(host, invocation, request);
    } else {
        result = echo(host, invocation, request);
    }

    /* Any result but 0 ends the invocation as "function error": say why first. The caller gets a plain error
     * and none of what was written; the worker lives on and serves the next request. */
    if (result == HT_TOO_LARGE) {
        ht_log_text(host, HT_LOG_ERROR, "the echo exceeds what the manifest lets this function answer");
    } else if (result != HT_OK) {
        ht_log_text(host, HT_LOG_ERROR, "the host refused a part of the echo");
    }
    return result;
}

/* The one symbol that a plugin exports: ABI version, size, and the entries this function has. */
HT_FUNCTION(invoke);

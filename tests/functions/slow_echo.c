/* slow_echo: sleeps for as many milliseconds as the query says, and answers with the body. */
#define _GNU_SOURCE
#include <hairtrigger.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    char number[8] = {0};
    struct timespec time = {0, 0};
    long milliseconds;
    (void)state;
    memcpy(number, request->query.data, request->query.len < 7 ? request->query.len : 7);
    milliseconds = strtol(number, NULL, 10);
    time.tv_sec = milliseconds / 1000;
    time.tv_nsec = milliseconds % 1000 * 1000000;
    while (milliseconds > 0 && nanosleep(&time, &time) != 0) {
    }
    return ht_write_bytes(host, invocation, request->body);
}

HT_FUNCTION(invoke);

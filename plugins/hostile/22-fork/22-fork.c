/*
 * Crime 22: forks.
 *
 * Expected: killed at the fork, with no child made: 502, outcome "violation", naming clone.
 * Should there be a child, it exits at once, and the answer says that it lived.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <hairtrigger.h>
#include <sys/wait.h>
#include <unistd.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    pid_t child = fork();
    (void)state;
    (void)request;
    if (child == 0) {
        _exit(0);
    }
    if (child < 0) {
        ht_write_text(host, invocation, "fork: ");
        return ht_write_text(host, invocation, strerror(errno));
    }
    waitpid(child, NULL, 0);
    return ht_write_text(host, invocation, "fork: a child lived");
}

HT_FUNCTION(invoke);

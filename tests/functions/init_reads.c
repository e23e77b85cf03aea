/* init_reads: reads a file of its directory in init, by a relative name: its own plugin,
 * as the function init-reads. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <hairtrigger.h>
#include <unistd.h>

static const char *outcome = "not tried";

static int32_t init(const ht_host *host, void **state) {
    char magic[4] = {0};
    int file = open("init-reads.so", O_RDONLY | O_CLOEXEC);
    (void)host;
    (void)state;
    if (file < 0) {
        outcome = strerror(errno);
        return 0;
    }
    outcome = read(file, magic, 4) == 4 && memcmp(magic + 1, "ELF", 3) == 0 ? "read" : "something else";
    close(file);
    return 0;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    (void)state;
    (void)request;
    return ht_write_text(host, invocation, outcome);
}

HT_FUNCTION_WITH(init, NULL, invoke, NULL);

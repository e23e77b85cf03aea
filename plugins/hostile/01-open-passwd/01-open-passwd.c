/*
 * Crime 1: opens a file outside its view, /etc/passwd.
 *
 * Expected: the call fails with EACCES and the invocation completes: 200, "open: Permission denied".
 * Should it succeed, the answer is the file's first line.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <hairtrigger.h>
#include <unistd.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    char text[256];
    const char *end;
    ssize_t len;
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    (void)state;
    (void)request;
    if (file < 0) {
        ht_write_text(host, invocation, "open: ");
        return ht_write_text(host, invocation, strerror(errno));
    }
    len = read(file, text, sizeof(text));
    close(file);
    if (len <= 0) {
        return ht_write_text(host, invocation, "opened, but not read");
    }
    end = (const char *)memchr(text, '\n', (size_t)len);
    return host->write(invocation, text, end == NULL ? (size_t)len : (size_t)(end - text));
}

HT_FUNCTION(invoke);

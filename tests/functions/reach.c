/*
 * reach: tries what the last part of the path says on the process whose pid is the query, and says what came
 * of it. Every one of these calls is denied; what is looked at is that the other process does not notice.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <hairtrigger.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    const char *path = (const char *)request->path.data;
    const uint8_t *slash = memrchr(path, '/', request->path.len);
    char digits[16] = {0};
    char byte = 0;
    struct iovec local = {&byte, 1}, remote = {digits, 1};
    ht_bytes command;
    pid_t pid;
    long result = -1;
    (void)state;
    command.data = slash + 1;
    command.len = request->path.len - (size_t)(command.data - request->path.data);
    if (request->query.len >= sizeof(digits)) {
        return 1;
    }
    memcpy(digits, request->query.data, request->query.len);
    pid = atoi(digits);

    errno = 0;
    if (ht_equal(command, "kill")) {
        result = kill(pid, SIGKILL);
    } else if (ht_equal(command, "everybody")) {
        result = kill(-1, SIGKILL);
    } else if (ht_equal(command, "queue")) {
        result = syscall(SYS_rt_sigqueueinfo, pid, SIGKILL, NULL);
    } else if (ht_equal(command, "thread")) {
        result = syscall(SYS_tgkill, pid, pid, SIGKILL);
    } else if (ht_equal(command, "trace")) {
        result = ptrace(PTRACE_ATTACH, pid, NULL, NULL);
    } else if (ht_equal(command, "read")) {
        result = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    } else if (ht_equal(command, "write")) {
        result = process_vm_writev(pid, &local, 1, &remote, 1, 0);
    } else if (ht_equal(command, "open")) {
        result = syscall(SYS_pidfd_open, pid, 0);
    } else if (ht_equal(command, "limit")) {
        result = syscall(SYS_prlimit64, pid, 7, NULL, digits);
    } else if (ht_equal(command, "leave")) { /* the process group, by which the guardian ends its function */
        result = setpgid(0, 0);
    } else if (ht_equal(command, "session")) {
        result = setsid();
    }
    ht_write_text(host, invocation, result < 0 ? "failed: " : "done: ");
    return ht_write_text(host, invocation, strerror(errno));
}

HT_FUNCTION(invoke);

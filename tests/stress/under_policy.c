/*
 * Preloaded into stress-ng: what it forks is put under the filters in the file that POLICY_FILE names. Calls that would
 * be a violation fail with EPERM, for there is no warden to be asked.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_PROGRAMS 8
#define MOST_INSTRUCTIONS 4096

static struct sock_filter instructions[MOST_PROGRAMS][MOST_INSTRUCTIONS];
static struct sock_fprog programs[MOST_PROGRAMS];
static int count;

static void die(const char *why) {
    fprintf(stderr, "under_policy: %s\n", why);
    _exit(99);
}

__attribute__((constructor)) static void read_programs(void) {
    const char *path = getenv("POLICY_FILE");
    FILE *file = path != NULL ? fopen(path, "rb") : NULL;
    uint32_t length;
    if (file == NULL) {
        die("POLICY_FILE cannot be read");
    }
    while (fread(&length, sizeof(length), 1, file) == 1) {
        if (count == MOST_PROGRAMS || length > MOST_INSTRUCTIONS ||
            fread(instructions[count], sizeof(struct sock_filter), length, file) != length) {
            die("POLICY_FILE is no policy");
        }
        for (uint32_t i = 0; i < length; i++) {
            struct sock_filter *instruction = &instructions[count][i];
            if (instruction->code == (BPF_RET | BPF_K) && instruction->k == SECCOMP_RET_USER_NOTIF) {
                instruction->k = SECCOMP_RET_ERRNO | 1;
            }
        }
        programs[count] = (struct sock_fprog){(unsigned short)length, instructions[count]};
        count++;
    }
    fclose(file);
    if (count == 0) {
        die("POLICY_FILE is empty");
    }
}

pid_t fork(void) {
    pid_t (*real)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
    pid_t pid = real();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
            die("no_new_privs");
        }
        /* The last one takes seccomp away. */
        for (int i = 0; i < count; i++) {
            if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &programs[i]) != 0) {
                die("a filter could not be installed");
            }
        }
    }
    return pid;
}

/*
 * crime.h: what every crime has in common. A crime is one C file with one function,
 *
 *     static const char *commit(const crime_scene *scene);
 *     CRIME(commit)
 *
 * which tries the deed and says how it went, as far as it lives to say anything: "committed: …" through
 * crime_committed, "refused: …" through crime_refused. It is committed by each invocation, except that of a path
 * that ends in /fine, which answers "fine": so one can see that the function serves again. With the variable
 * CRIME_AT=init in its environment it is committed by init instead, and CRIME_AT=constructor before that, while
 * the plugin is loaded; what it has to say is then init's reason to fail.
 *
 * No crime does harm where nothing stops it: arguments are such that the kernel, if it is asked, refuses them or
 * has nothing to do, and whatever is made is undone.
 */
#ifndef CRIME_H
#define CRIME_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <hairtrigger.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where a crime is committed. */
typedef struct crime_scene {
    const ht_host *host;
    ht_invocation *invocation;  /* NULL but in invoke */
    const ht_request *request;  /* NULL but in invoke */
} crime_scene;

typedef const char *(*crime_commit)(const crime_scene *scene);

static char crime_text[256];

/* Nothing stopped it: what was done. */
__attribute__((unused)) static const char *crime_committed(const char *what) {
    snprintf(crime_text, sizeof(crime_text), "committed: %s", what);
    return crime_text;
}

/* A call failed: which, with the reason that errno gives. */
__attribute__((unused)) static const char *crime_refused(const char *call) {
    snprintf(crime_text, sizeof(crime_text), "refused: %s: %s", call, strerror(errno));
    return crime_text;
}

/* What a call came to that returns -1 if it fails. */
__attribute__((unused)) static const char *crime_result(const char *call, long result) {
    return result == -1 ? crime_refused(call) : crime_committed(call);
}

static int crime_is_fine(const ht_request *request) {
    static const char fine[] = "/fine";
    const size_t length = sizeof(fine) - 1;
    return request->path.len >= length &&
           memcmp(request->path.data + request->path.len - length, fine, length) == 0;
}

static int crime_at(const char *when) {
    const char *at = getenv("CRIME_AT");
    return at != NULL && strcmp(at, when) == 0;
}

#define CRIME(commit)                                                                                       \
    static const char *crime_constructed;                                                                  \
    __attribute__((constructor)) static void crime_construct(void) {                                       \
        const crime_scene scene = {NULL, NULL, NULL};                                                      \
        if (crime_at("constructor")) {                                                                     \
            crime_constructed = commit(&scene);                                                            \
        }                                                                                                  \
    }                                                                                                      \
    static int32_t crime_init(const ht_host *host, void **state) {                                         \
        const crime_scene scene = {host, NULL, NULL};                                                      \
        const char *told = crime_constructed;                                                              \
        (void)state;                                                                                       \
        if (crime_at("init")) {                                                                            \
            told = commit(&scene);                                                                         \
        }                                                                                                  \
        if (told == NULL) {                                                                                \
            return 0;                                                                                      \
        }                                                                                                  \
        ht_log_text(host, HT_LOG_ERROR, told);                                                             \
        return 1;                                                                                          \
    }                                                                                                      \
    static int32_t crime_invoke(const ht_host *host, void *state, ht_invocation *invocation,               \
                                const ht_request *request) {                                               \
        const crime_scene scene = {host, invocation, request};                                             \
        (void)state;                                                                                       \
        return ht_write_text(host, invocation, crime_is_fine(request) ? "fine" : commit(&scene));          \
    }                                                                                                      \
    HT_FUNCTION_WITH(crime_init, NULL, crime_invoke, NULL)

#endif

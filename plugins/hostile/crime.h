/*
 * crime.h: what every crime has in common. A crime is one C file with one function,
 *
 *     static const char *commit(const crime_scene *scene);
 *     CRIME(commit);
 *
 * which tries the deed and says how it went, as far as it lives to say anything: "committed: …" through
 * crime_committed, "refused: …" through crime_refused. It is committed by each invocation, except that of a path
 * that ends in /fine, which answers "fine": so one can see that the function serves again. With the variable
 * CRIME_AT=init in its environment it is committed by init instead, and CRIME_AT=constructor before that, while
 * the plugin is loaded; what it has to say is then init's reason to fail. CRIME_AT=start commits it in each worker
 * before that serves, which ends a worker that has anything to say.
 *
 * A crime of several deeds does the one that the last segment of the path names, behind the function's own, and
 * without one its first. What it is to be done to, where that is somebody else's, stands in the query: a port, a
 * path, a pid. In init, and before, there is no request: CRIME_DEED and CRIME_TARGET say the same, and they win over
 * the request where they are set.
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
    const ht_host *host;        /* NULL in a constructor */
    ht_invocation *invocation;  /* NULL but in invoke */
    const ht_request *request;  /* NULL but in invoke */
    const char *deed;           /* which of several; "" for the first */
    const char *target;         /* whom it is done to; "" for nobody in particular */
} crime_scene;

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

/* Whether this is the deed that is asked for. */
__attribute__((unused)) static int crime_is(const crime_scene *scene, const char *deed) {
    return strcmp(scene->deed, deed) == 0;
}

/* For a deed that the crime does not know: a mistake of who asked. */
__attribute__((unused)) static const char *crime_unknown(const crime_scene *scene) {
    snprintf(crime_text, sizeof(crime_text), "there is no deed \"%.64s\" here", scene->deed);
    return crime_text;
}

/* Of the pids in the target, separated by commas, the first that is not its own; -1 if there is none. */
__attribute__((unused)) static long crime_pid(const crime_scene *scene) {
    const char *at = scene->target;
    while (*at != '\0') {
        char *end;
        const long pid = strtol(at, &end, 10);
        if (end == at) {
            break;
        }
        if (pid != getpid()) {
            return pid;
        }
        at = *end == ',' ? end + 1 : end;
    }
    return -1;
}

/* A deed that is a single system call. */
typedef struct crime_call {
    const char *deed; /* NULL: the call's name */
    const char *call;
    long number;
    long arguments[6];
} crime_call;

/* For a call that, should it succeed, gives a descriptor: it is closed again. */
#define CRIME_GIVES_FD (1L << 32)

/* Makes the call that is asked for of these, the first if none is. */
__attribute__((unused)) static const char *crime_make(const crime_scene *scene, const crime_call *calls,
                                                      size_t count) {
    size_t i;
    for (i = 0; i < count; i++) {
        const crime_call *call = &calls[i];
        const long *arguments = call->arguments;
        if (crime_is(scene, call->deed != NULL ? call->deed : call->call) || (i == 0 && crime_is(scene, ""))) {
            const long result = syscall(call->number & ~CRIME_GIVES_FD, arguments[0], arguments[1], arguments[2],
                                        arguments[3], arguments[4], arguments[5]);
            if (result >= 0 && (call->number & CRIME_GIVES_FD) != 0) {
                close((int)result);
            }
            return crime_result(call->call, result);
        }
    }
    return crime_unknown(scene);
}

#define CRIME_MAKE(scene, calls) crime_make(scene, calls, sizeof(calls) / sizeof((calls)[0]))

/* The variable's value, or else these bytes, cut to what `room` holds. */
static const char *crime_told(const char *variable, ht_bytes bytes, char *room, size_t size) {
    const char *told = getenv(variable);
    const size_t length = bytes.len < size ? bytes.len : size - 1;
    if (told != NULL) {
        return told;
    }
    if (length > 0) {
        memcpy(room, bytes.data, length);
    }
    room[length] = '\0';
    return room;
}

/* The last segment of a path of at least two. */
static ht_bytes crime_segment(ht_bytes path) {
    ht_bytes segment = {NULL, 0};
    size_t at;
    for (at = path.len; at > 1; at--) {
        if (path.data[at - 1] == '/') {
            segment.data = path.data + at;
            segment.len = path.len - at;
            break;
        }
    }
    return segment;
}

static crime_scene crime_look(const ht_host *host, ht_invocation *invocation, const ht_request *request) {
    static char deed[64], target[256];
    const ht_bytes nothing = {NULL, 0};
    crime_scene scene;
    scene.host = host;
    scene.invocation = invocation;
    scene.request = request;
    scene.deed = crime_told("CRIME_DEED", request == NULL ? nothing : crime_segment(request->path), deed, sizeof(deed));
    scene.target = crime_told("CRIME_TARGET", request == NULL ? nothing : request->query, target, sizeof(target));
    return scene;
}

static int crime_at(const char *when) {
    const char *at = getenv("CRIME_AT");
    return at != NULL && strcmp(at, when) == 0;
}

#define CRIME(commit)                                                                                       \
    static const char *crime_constructed;                                                                  \
    __attribute__((constructor)) static void crime_construct(void) {                                       \
        if (crime_at("constructor")) {                                                                     \
            const crime_scene scene = crime_look(NULL, NULL, NULL);                                        \
            crime_constructed = commit(&scene);                                                            \
        }                                                                                                  \
    }                                                                                                      \
    static int32_t crime_init(const ht_host *host, void **state) {                                         \
        const char *told = crime_constructed;                                                              \
        (void)state;                                                                                       \
        if (crime_at("init")) {                                                                            \
            const crime_scene scene = crime_look(host, NULL, NULL);                                        \
            told = commit(&scene);                                                                         \
        }                                                                                                  \
        if (told == NULL) {                                                                                \
            return 0;                                                                                      \
        }                                                                                                  \
        ht_log_text(host, HT_LOG_ERROR, told);                                                             \
        return 1;                                                                                          \
    }                                                                                                      \
    static int32_t crime_start(const ht_host *host, void *state) {                                         \
        const crime_scene scene = crime_look(host, NULL, NULL);                                            \
        (void)state;                                                                                       \
        return crime_at("start") && commit(&scene) != NULL;                                                \
    }                                                                                                      \
    static int32_t crime_invoke(const ht_host *host, void *state, ht_invocation *invocation,               \
                                const ht_request *request) {                                               \
        const crime_scene scene = crime_look(host, invocation, request);                                   \
        (void)state;                                                                                       \
        return ht_write_text(host, invocation, crime_is(&scene, "fine") ? "fine" : commit(&scene));        \
    }                                                                                                      \
    HT_FUNCTION_WITH(crime_init, crime_start, crime_invoke, NULL)

#endif

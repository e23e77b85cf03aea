/*
 * hairtrigger.h: what a function and its host promise each other.
 *
 * A FUNCTION IN TEN LINES
 *
 *     #include <hairtrigger.h>
 *
 *     static int invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
 *         (void)state;
 *         host->add_header(invocation, HT_STR("content-type"), HT_STR("text/plain"));
 *         ht_write_text(host, invocation, "You asked for ");
 *         return ht_write_bytes(host, invocation, request->path);
 *     }
 *
 *     HT_FUNCTION(invoke);
 *
 * Build it with `cc -shared -fPIC -o function.so function.c` and put a `function.toml` beside it that
 * gives it a name. That is all: this file is the whole contract, there is no library to link.
 *
 * THE LIFE OF A FUNCTION
 *
 *     load           the plugin is loaded into a process that is confined already: the code that runs
 *                    while it loads (constructors) has no more rights than the code that runs later
 *       init           once; the process is now a template, and waits
 *         fork           a worker is made from it, as often as one is wanted
 *           worker_start   once in each worker
 *             invoke         once for each invocation, one at a time
 *           shutdown       when the worker is let go in peace
 *
 * What `init` prepared, every worker has without paying for it again: their memory is the template's
 * until they write to it. What must differ between workers (random seeds above all) is set anew in
 * `worker_start`.
 *
 * THE RULES
 *
 *   Threads    All entries of a plugin are called on the first thread of its process, never two at once.
 *              Further threads can be made if the manifest grants some (`threads`): in `init`, which must
 *              wait for their end, since a fork does not carry them over, and in a worker. Only what says
 *              "from any thread" may be called on them; what is done with an ht_invocation belongs to the
 *              thread of `invoke`. One thread too many fails with EAGAIN. A thread that goes on after
 *              `invoke` has returned must leave all that was the host's alone.
 *   Memory     What the host passes in belongs to the host, and is valid until the entry returns, unless
 *              its comment says longer. What a function passes to the host is copied before the call
 *              returns, unless its comment says otherwise. The host never frees what a function
 *              allocated, nor the other way round.
 *   Errors     A host call says HT_OK or what was wrong with it, and changes nothing in that case. An
 *              entry returns 0, or any other number for "this failed". A response that was begun is
 *              dropped when `invoke` fails: the caller gets one plain error instead.
 *   Time       When its time is up, a worker is killed (SIGKILL): nothing of it runs any more, neither
 *              `shutdown` nor a destructor. A worker may be killed at any other time too.
 *   Rights     No files (open fails with EACCES), no sockets, no threads, unless the manifest grants some;
 *              no processes, no executable memory. A forbidden system call ends the worker. Standard output
 *              and standard error go to the log, line by line.
 *   Language   No exception may leave an entry. exit() within an entry is a failure of the invocation.
 *
 * HOW THIS FILE GROWS
 *
 * Structures are append-only. No field is ever moved, removed or given another meaning; new ones come
 * last, below a divider that says in which release. Each structure that can grow tells its size: before
 * touching a field from below a divider, ask for it with HT_HAS. HT_ABI_VERSION changes only when old
 * plugins can no longer work, and the host then refuses them, naming both versions.
 *
 * C99 and C++11; 64-bit, little-endian, Linux.
 */
#ifndef HAIRTRIGGER_H
#define HAIRTRIGGER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ==== added in 0.1 =============================================================================== */

/* The version of the contract that this file describes. */
#define HT_ABI_VERSION 1u

/* ---- results of host calls ---------------------------------------------------------------------- */

/* Done. */
#define HT_OK 0
/* A null pointer, a bad name or value, or a number out of bounds. Nothing was changed. */
#define HT_INVALID (-1)
/* The response would exceed what the function may answer (`max_response` for the body). Nothing was
 * added, and whatever `invoke` returns, the invocation ends as "response too large". */
#define HT_TOO_LARGE (-2)

/* ---- severity of a log line --------------------------------------------------------------------- */

#define HT_LOG_ERROR 1u
#define HT_LOG_WARN 2u
#define HT_LOG_INFO 3u
#define HT_LOG_DEBUG 4u

/* ---- what an invocation is given ---------------------------------------------------------------- */

/* Borrowed bytes. Not NUL-terminated. If `len` is 0, `data` is unspecified and must not be read. */
typedef struct ht_bytes {
    const uint8_t *data;
    size_t len;
} ht_bytes;

/* One header field of a request. */
typedef struct ht_header {
    ht_bytes name;  /* in lower case, whatever the client wrote */
    ht_bytes value; /* without white space around it; any bytes but control characters */
} ht_header;

/* One request. It is the host's, with all it points to: read-only, and gone when `invoke` returns. Copy
 * what is to stay. Every event comes as a request; those that did not come by HTTP carry `ce-...` headers
 * (CloudEvents, binary mode). */
typedef struct ht_request {
    uint32_t struct_size;     /* of the host's ht_request, in bytes; for HT_HAS */
    uint32_t header_count;    /* entries of `headers` */
    const ht_header *headers; /* in the order they came; names may repeat */
    ht_bytes method;          /* "GET", "POST", ...: as sent, printable ASCII, never empty */
    ht_bytes path;            /* as sent, printable ASCII, begins with '/', without the query */
    ht_bytes query;           /* what stood behind the '?', as sent, printable ASCII; may be empty */
    ht_bytes body;            /* any bytes; at most `max_request` of them */
    ht_bytes invocation_id;   /* 32 hexadecimal digits; the same in answers, logs and metrics */
    uint64_t deadline_ns;     /* when the worker is killed: nanoseconds of CLOCK_MONOTONIC, see now_ns */

    /* ---- added in 0.2: ask with HT_HAS first ---- */

    const ht_header *trailers; /* fields behind a chunked body, as `headers`; they never were in the head. Those
                                * that only make sense there (framing, routing, authorization ...) are left out */
    uint32_t trailer_count;    /* entries of `trailers` */
} ht_request;

/* The invocation that is under way, as a handle. Valid until `invoke` returns, and only on the thread on
 * which `invoke` was called. */
typedef struct ht_invocation ht_invocation;

/* ---- what the host does for a function ---------------------------------------------------------- */

/* One table, valid and unchanged for the whole life of the process: a function may keep the pointer. */
typedef struct ht_host {
    uint32_t abi_version; /* the host's HT_ABI_VERSION */
    uint32_t struct_size; /* of the host's ht_host, in bytes; for HT_HAS */

    /* Writes one line of `len` bytes to the function's log, tagged with the invocation under way, if any.
     * The text is copied, cut if it is too long, and line feeds in it become spaces. From any thread, in any
     * entry. Cannot fail. */
    void (*log)(uint32_t level, const void *text, size_t len);

    /* Nanoseconds of CLOCK_MONOTONIC, now. From any thread, in any entry. Cannot fail. */
    uint64_t (*now_ns)(void);

    /* The value of `name` in the [env] table of the manifest, NUL-terminated, or NULL if it has none. The
     * host's; valid and unchanged for the life of the process. From any thread, in any entry. */
    const char *(*env)(const char *name);

    /* The following build the response, within `invoke` and on its thread only. Order does not matter;
     * nothing is sent before `invoke` has returned 0. */

    /* Sets the status, 200 to 599; without it, 200. The last call counts.
     * HT_INVALID: out of these bounds. */
    int32_t (*set_status)(ht_invocation *invocation, uint32_t status);

    /* Adds a header field. Those of the connection (content-length, transfer-encoding, connection, date and
     * the like) are the daemon's to write: one that is added here is accepted and not sent.
     * HT_INVALID: a name that is no HTTP token, or a value with control characters other than tab.
     * HT_TOO_LARGE: too many fields, or too long in sum. */
    int32_t (*add_header)(ht_invocation *invocation, const void *name, size_t name_len, const void *value,
                          size_t value_len);

    /* Appends `len` bytes to the body. HT_INVALID: `data` is null though `len` is not 0.
     * HT_TOO_LARGE: the body would exceed `max_response`. */
    int32_t (*write)(ht_invocation *invocation, const void *data, size_t len);

    /* Saves the copy that `write` makes: room for `len` more bytes of body, to be written in place and then
     * committed. The room is the host's, has no alignment, holds unspecified bytes that may be read, and
     * is valid until the next reserve, commit or write, or until `invoke` returns.
     * NULL: the body would exceed `max_response` (as HT_TOO_LARGE). For a `len` of 0, whatever comes back
     * must not be used. */
    uint8_t *(*reserve)(ht_invocation *invocation, size_t len);

    /* Appends the first `len` bytes of the last reservation to the body, and ends the reservation.
     * HT_INVALID: none is open, or `len` exceeds it. */
    int32_t (*commit)(ht_invocation *invocation, size_t len);

    /* `size` bytes of memory, aligned to `align` (a power of two, at most 4096), with unspecified content.
     * The function's until `invoke` returns; it is not freed one by one. NULL: there is none left, or
     * `align` is bad. For a `size` of 0, whatever comes back must not be used. */
    void *(*alloc)(ht_invocation *invocation, size_t size, size_t align);

    /* ---- added in 0.2: ask with HT_HAS first ---- */

    /* Adds a trailer: a field that is sent behind the body. Clients get trailers only if they asked for them
     * (HTTP/1.1 with `TE: trailers`); for others they are dropped, and so are fields that must be known before
     * the body (framing, routing, authorization, caching ...), so nothing may depend on them. Results as for
     * add_header, with which number and length are counted together. */
    int32_t (*add_trailer)(ht_invocation *invocation, const void *name, size_t name_len, const void *value,
                           size_t value_len);
} ht_host;

/* ---- what a plugin exports ---------------------------------------------------------------------- */

/* Every entry but `invoke` may be null. */
typedef struct ht_function {
    uint32_t abi_version; /* HT_ABI_VERSION; HT_FUNCTION fills it in */
    uint32_t struct_size; /* sizeof(ht_function); HT_FUNCTION fills it in */

    /* Called once, in the template, before any worker exists. What it stores in `*state` (null before) is
     * handed to all other entries; it stays the function's own. Any result but 0 refuses the function,
     * and the line logged last is the reason given. It has ten seconds. */
    int32_t (*init)(const ht_host *host, void **state);

    /* Called once in each worker, after the fork and before its first invocation. Workers are copies of
     * the template: reseed random state here. Any result but 0 ends the worker. It has five seconds. */
    int32_t (*worker_start)(const ht_host *host, void *state);

    /* Called for each invocation. 0: the response is sent. Any other result: the invocation ends as
     * "function error", the caller gets 500 and not the response; say why with `log` first. The worker
     * stays, so `state` must be in order either way. */
    int32_t (*invoke)(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request);

    /* Called when a worker is drained: the last call, with no invocation under way. A worker that is
     * killed does not get it, so nothing that must happen may depend on it. */
    void (*shutdown)(const ht_host *host, void *state);
} ht_function;

/* The one symbol the host looks up. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const ht_function hairtrigger_function;

/* Defines it. Once in a plugin, at file level: HT_FUNCTION(invoke); or, with all entries (NULL for one
 * that is not wanted), HT_FUNCTION_WITH(init, worker_start, invoke, shutdown); */
#define HT_FUNCTION(invoke) HT_FUNCTION_WITH(NULL, NULL, invoke, NULL)
#define HT_FUNCTION_WITH(init, worker_start, invoke, shutdown)                                              \
    const ht_function hairtrigger_function = {HT_ABI_VERSION, (uint32_t)sizeof(ht_function), init,          \
                                              worker_start,   invoke,                        shutdown}

/* Whether the structure behind `pointer` (ht_host or ht_request) is recent enough to have `field`. Only
 * needed for fields below an "added in" divider later than the release one requires. */
#define HT_HAS(type, pointer, field)                                                                        \
    ((pointer)->struct_size >= offsetof(type, field) + sizeof((pointer)->field))

/* ---- conveniences, compiled into the plugin ------------------------------------------------------ */

/* A string literal as the two arguments "address, length". */
#define HT_STR(literal) ("" literal), (sizeof(literal) - 1)

/* A NUL-terminated string as ht_bytes; they borrow it. */
static inline ht_bytes ht_text(const char *text) {
    ht_bytes bytes;
    bytes.data = (const uint8_t *)text;
    bytes.len = strlen(text);
    return bytes;
}

/* 1 if `bytes` are exactly the NUL-terminated `text`, else 0. */
static inline int ht_equal(ht_bytes bytes, const char *text) {
    size_t len = strlen(text);
    return bytes.len == len && (len == 0 || memcmp(bytes.data, text, len) == 0);
}

/* The first header field named `name`, which must be in lower case, or NULL. Valid as the request is. */
static inline const ht_header *ht_find_header(const ht_request *request, const char *name) {
    uint32_t i;
    for (i = 0; i < request->header_count; i++) {
        if (ht_equal(request->headers[i].name, name)) {
            return &request->headers[i];
        }
    }
    return NULL;
}

/* ht_host.write for a NUL-terminated string, without its NUL. */
static inline int32_t ht_write_text(const ht_host *host, ht_invocation *invocation, const char *text) {
    return host->write(invocation, text, strlen(text));
}

/* ht_host.write for bytes. */
static inline int32_t ht_write_bytes(const ht_host *host, ht_invocation *invocation, ht_bytes bytes) {
    return host->write(invocation, bytes.data, bytes.len);
}

/* ht_host.log for a NUL-terminated string. */
static inline void ht_log_text(const ht_host *host, uint32_t level, const char *text) {
    host->log(level, text, strlen(text));
}

/* ==== end of 0.1: new fields and functions come below this line, under a divider of their own ===== */

/* The layouts above are those of a 64-bit machine. */
typedef char ht_needs_a_64_bit_machine[sizeof(void *) == 8 && sizeof(size_t) == 8 ? 1 : -1];

#ifdef __cplusplus
}
#endif

#endif

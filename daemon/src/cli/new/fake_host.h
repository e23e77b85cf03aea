/*
 * A host for tests: it calls the function in this process, and keeps what it answers.
 *
 * Include it after the function's own source file, in one file only. C11 and C++17.
 */
#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include <hairtrigger.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest body of a response, in bytes. */
#define FAKE_MAX_RESPONSE ((size_t)1 << 20)
/* The most pieces of memory that an invocation may ask for. */
#define FAKE_MAX_PIECES 1024

/* What came of the last invocation. */
static struct {
    int32_t result; /* of `invoke`: 0, or the invocation failed */
    uint32_t status;
    uint8_t *body;
    size_t body_len;
    char headers[8192]; /* "name: value\n" for each field */
} fake_answer;

static size_t fake_reserved;
static void *fake_pieces[FAKE_MAX_PIECES];
static size_t fake_piece_count;
static void *fake_state;
static int fake_begun;
static int fake_failures;

/* Says which expectation does not hold, and goes on. */
#define FAKE_EXPECT(condition)                                                                               \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: this does not hold: %s\n", __FILE__, __LINE__, #condition);              \
            fake_failures++;                                                                                 \
        }                                                                                                    \
    } while (0)

static inline void fake_log(uint32_t level, const void *text, size_t len) {
    (void)level;
    fprintf(stderr, "log: %.*s\n", (int)len, (const char *)text);
}

/* The clock stands still. */
static inline uint64_t fake_now_ns(void) {
    return 5000000000u;
}

/* The test's own environment takes the place of the manifest's. */
static inline const char *fake_env(const char *name) {
    return getenv(name);
}

static inline int32_t fake_set_status(ht_invocation *invocation, uint32_t status) {
    (void)invocation;
    if (status < 200 || status > 599) {
        return HT_INVALID;
    }
    fake_answer.status = status;
    return HT_OK;
}

static inline int32_t fake_add_header(ht_invocation *invocation, const void *name, size_t name_len,
                                      const void *value, size_t value_len) {
    size_t used = strlen(fake_answer.headers);
    (void)invocation;
    if (used + name_len + value_len + 4 > sizeof(fake_answer.headers)) {
        return HT_TOO_LARGE;
    }
    snprintf(fake_answer.headers + used, sizeof(fake_answer.headers) - used, "%.*s: %.*s\n", (int)name_len,
             (const char *)name, (int)value_len, (const char *)value);
    return HT_OK;
}

static inline uint8_t *fake_reserve(ht_invocation *invocation, size_t len) {
    (void)invocation;
    if (len > FAKE_MAX_RESPONSE - fake_answer.body_len) {
        return NULL;
    }
    fake_reserved = len;
    return fake_answer.body + fake_answer.body_len;
}

static inline int32_t fake_commit(ht_invocation *invocation, size_t len) {
    (void)invocation;
    if (len > fake_reserved) {
        return HT_INVALID;
    }
    fake_answer.body_len += len;
    fake_reserved = 0;
    return HT_OK;
}

static inline int32_t fake_write(ht_invocation *invocation, const void *data, size_t len) {
    uint8_t *room = fake_reserve(invocation, len);
    if (room == NULL) {
        return HT_TOO_LARGE;
    }
    if (len > 0) {
        memmove(room, data, len);
    }
    return fake_commit(invocation, len);
}

static inline void *fake_alloc(ht_invocation *invocation, size_t size, size_t align) {
    void *piece = NULL;
    (void)invocation;
    if (align == 0 || align > 4096 || (align & (align - 1)) != 0 || fake_piece_count == FAKE_MAX_PIECES) {
        return NULL;
    }
    if (align < sizeof(void *)) {
        align = sizeof(void *);
    }
    /* aligned_alloc wants a multiple of the alignment. */
    piece = aligned_alloc(align, (size + align) / align * align);
    if (piece != NULL) {
        fake_pieces[fake_piece_count++] = piece;
    }
    return piece;
}

/* The table; built below, field by field, so that a host may have more fields than this one fills. */
static ht_host fake_host;

static inline void fake_begin(void) {
    fake_host.abi_version = HT_ABI_VERSION;
    /* What lies behind it is not there, see HT_HAS. */
    fake_host.struct_size = (uint32_t)(offsetof(ht_host, alloc) + sizeof(fake_host.alloc));
    fake_host.log = fake_log;
    fake_host.now_ns = fake_now_ns;
    fake_host.env = fake_env;
    fake_host.set_status = fake_set_status;
    fake_host.add_header = fake_add_header;
    fake_host.write = fake_write;
    fake_host.reserve = fake_reserve;
    fake_host.commit = fake_commit;
    fake_host.alloc = fake_alloc;
    fake_answer.body = (uint8_t *)malloc(FAKE_MAX_RESPONSE);
    if (fake_answer.body == NULL ||
        (hairtrigger_function.init != NULL && hairtrigger_function.init(&fake_host, &fake_state) != 0) ||
        (hairtrigger_function.worker_start != NULL &&
         hairtrigger_function.worker_start(&fake_host, fake_state) != 0)) {
        fprintf(stderr, "the function refuses to start\n");
        exit(1);
    }
}

/* Invokes the function with a request that has no header fields. Before the first time, `init` and
 * `worker_start` are called. */
static inline void fake_invoke(const char *method, const char *path, const char *query, const char *body) {
    ht_request request;
    if (!fake_begun) {
        fake_begun = 1;
        fake_begin();
    }
    memset(&request, 0, sizeof(request));
    request.struct_size = (uint32_t)sizeof(request);
    request.method = ht_text(method);
    request.path = ht_text(path);
    request.query = ht_text(query);
    request.body = ht_text(body);
    request.invocation_id = ht_text("00112233445566778899aabbccddeeff");
    request.deadline_ns = fake_now_ns() + 1000000000u;
    fake_answer.status = 200;
    fake_answer.body_len = 0;
    fake_answer.headers[0] = '\0';
    fake_reserved = 0;
    fake_answer.result =
        hairtrigger_function.invoke(&fake_host, fake_state, (ht_invocation *)(void *)&fake_answer, &request);
    while (fake_piece_count > 0) {
        free(fake_pieces[--fake_piece_count]);
    }
}

/* Whether the answer's body is exactly this text. */
static inline int fake_body_is(const char *text) {
    return fake_answer.body_len == strlen(text) && memcmp(fake_answer.body, text, fake_answer.body_len) == 0;
}

/* What `main` returns. */
static inline int fake_verdict(void) {
    if (hairtrigger_function.shutdown != NULL && fake_begun) {
        hairtrigger_function.shutdown(&fake_host, fake_state);
    }
    free(fake_answer.body);
    puts(fake_failures == 0 ? "passed" : "failed");
    return fake_failures == 0 ? 0 : 1;
}

#endif

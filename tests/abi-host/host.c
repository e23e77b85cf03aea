/*
 * A host for one plugin in C, without daemon or sandbox, to be linked with it under -fsanitize=address,undefined.
 *
 * It gives the plugin a fixed set of requests and prints what came back, one line a case. It is as strict as
 * the contract allows: whatever it lends is a heap block of exactly the promised size, freed the moment the
 * contract lets it, so that the sanitizer sees a plugin that reads a byte too far or an invocation too late.
 */
#define _POSIX_C_SOURCE 200809L
#include <hairtrigger.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MAX_RESPONSE ((size_t)2 << 20)
#define MAX_HEADERS 64u
#define MAX_ALLOCATIONS 64u
#define SHOWN 128u
#define ALIVE 0x68747269u

/* What the contract keeps opaque. */
struct ht_invocation {
    uint32_t alive;
    uint32_t status;
    uint8_t *body;
    size_t body_len;
    uint8_t *room;
    size_t room_len;
    char *headers[MAX_HEADERS];
    uint32_t header_count;
    void *allocations[MAX_ALLOCATIONS];
    uint32_t allocation_count;
};

/* ---- small things ------------------------------------------------------------------------------- */

static void *must(void *memory) {
    if (memory == NULL) {
        fprintf(stderr, "abi-host: out of memory\n");
        exit(2);
    }
    return memory;
}

/* A block of exactly `len` bytes. Nothing is lent for a length of 0: the address must not be read. */
static ht_bytes lend(const void *data, size_t len) {
    static uint8_t *nowhere = (uint8_t *)8;
    ht_bytes bytes;
    if (len == 0) {
        bytes.data = nowhere;
    } else {
        uint8_t *copy = (uint8_t *)must(malloc(len));
        memcpy(copy, data, len);
        bytes.data = copy;
    }
    bytes.len = len;
    return bytes;
}

static void take_back(ht_bytes bytes) {
    if (bytes.len > 0) {
        free((void *)(uintptr_t)bytes.data);
    }
}

static void check(const ht_invocation *invocation, const char *call) {
    if (invocation == NULL || invocation->alive != ALIVE) {
        fprintf(stderr, "abi-host: %s was given something that is no invocation under way\n", call);
        exit(2);
    }
}

static int is_token(const uint8_t *bytes, size_t len) {
    size_t i;
    for (i = 0; i < len; i++) {
        if (strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", bytes[i]) == NULL ||
            bytes[i] == 0) {
            return 0;
        }
    }
    return len > 0;
}

static int is_value(const uint8_t *bytes, size_t len) {
    size_t i;
    for (i = 0; i < len; i++) {
        if ((bytes[i] < 0x20 && bytes[i] != '\t') || bytes[i] == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static void end_room(ht_invocation *invocation) {
    free(invocation->room);
    invocation->room = NULL;
    invocation->room_len = 0;
}

static int32_t append(ht_invocation *invocation, const void *data, size_t len) {
    if (len > MAX_RESPONSE - invocation->body_len) {
        return HT_TOO_LARGE;
    }
    if (len > 0) {
        invocation->body = (uint8_t *)must(realloc(invocation->body, invocation->body_len + len));
        memcpy(invocation->body + invocation->body_len, data, len);
        invocation->body_len += len;
    }
    return HT_OK;
}

/* ---- the host's table ---------------------------------------------------------------------------- */

static void host_log(uint32_t level, const void *text, size_t len) {
    printf("log level=%" PRIu32 " %.*s\n", level, (int)len, (const char *)text);
}

static uint64_t host_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const char *host_env(const char *name) {
    return strcmp(name, "GREETING") == 0 ? "Hello" : NULL;
}

static int32_t host_set_status(ht_invocation *invocation, uint32_t status) {
    check(invocation, "set_status");
    if (status < 200 || status > 599) {
        return HT_INVALID;
    }
    invocation->status = status;
    return HT_OK;
}

static int32_t host_add_header(ht_invocation *invocation, const void *name, size_t name_len, const void *value,
                               size_t value_len) {
    char *field;
    check(invocation, "add_header");
    if (name == NULL || (value == NULL && value_len > 0) || !is_token((const uint8_t *)name, name_len) ||
        !is_value((const uint8_t *)value, value_len)) {
        return HT_INVALID;
    }
    if (invocation->header_count == MAX_HEADERS) {
        return HT_TOO_LARGE;
    }
    field = (char *)must(malloc(name_len + value_len + 2));
    memcpy(field, name, name_len);
    field[name_len] = ':';
    if (value_len > 0) {
        memcpy(field + name_len + 1, value, value_len);
    }
    field[name_len + 1 + value_len] = 0;
    invocation->headers[invocation->header_count++] = field;
    return HT_OK;
}

static int32_t host_write(ht_invocation *invocation, const void *data, size_t len) {
    check(invocation, "write");
    if (data == NULL && len > 0) {
        return HT_INVALID;
    }
    end_room(invocation);
    return append(invocation, data, len);
}

static uint8_t *host_reserve(ht_invocation *invocation, size_t len) {
    check(invocation, "reserve");
    end_room(invocation);
    if (len == 0 || len > MAX_RESPONSE - invocation->body_len) {
        return NULL;
    }
    invocation->room = (uint8_t *)must(malloc(len));
    invocation->room_len = len;
    return invocation->room;
}

static int32_t host_commit(ht_invocation *invocation, size_t len) {
    int32_t result;
    check(invocation, "commit");
    if (invocation->room == NULL || len > invocation->room_len) {
        return HT_INVALID;
    }
    result = append(invocation, invocation->room, len);
    end_room(invocation);
    return result;
}

static void *host_alloc(ht_invocation *invocation, size_t size, size_t align) {
    void *memory = NULL;
    check(invocation, "alloc");
    if (size == 0 || align == 0 || align > 4096 || (align & (align - 1)) != 0 ||
        invocation->allocation_count == MAX_ALLOCATIONS) {
        return NULL;
    }
    if (posix_memalign(&memory, align < sizeof(void *) ? sizeof(void *) : align, size) != 0) {
        return NULL;
    }
    invocation->allocations[invocation->allocation_count++] = memory;
    return memory;
}

static const ht_host host = {
    HT_ABI_VERSION, (uint32_t)sizeof(ht_host), host_log,     host_now_ns, host_env,   host_set_status,
    host_add_header, host_write,               host_reserve, host_commit, host_alloc, host_add_header,
};

/* ---- one case ------------------------------------------------------------------------------------ */

typedef struct field {
    const char *name;
    const char *value;
} field;

/* 64-bit FNV-1a, so that long bodies can be compared by a line of text. */
static uint64_t digest(const uint8_t *bytes, size_t len) {
    uint64_t hash = 0xcbf29ce484222325u;
    size_t i;
    for (i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

static void print_outcome(const char *name, int32_t result, const ht_invocation *invocation) {
    uint32_t i;
    printf("case=%s result=%" PRId32 " status=%" PRIu32 " length=%zu digest=%016" PRIx64, name, result,
           invocation->status, invocation->body_len, digest(invocation->body, invocation->body_len));
    for (i = 0; i < invocation->header_count; i++) {
        printf(" [%s]", invocation->headers[i]);
    }
    if (invocation->body_len <= SHOWN && is_value(invocation->body, invocation->body_len)) {
        printf(" body=%.*s", (int)invocation->body_len, (const char *)invocation->body);
    }
    printf("\n");
    fflush(stdout);
}

static void run(void *state, const char *name, const char *method, const char *path, const char *query,
                const field *fields, uint32_t field_count, const void *body, size_t body_len) {
    ht_header *headers = field_count == 0 ? NULL : (ht_header *)must(malloc(field_count * sizeof(ht_header)));
    ht_request *request = (ht_request *)must(calloc(1, sizeof(ht_request)));
    ht_invocation *invocation = (ht_invocation *)must(calloc(1, sizeof(ht_invocation)));
    int32_t result;
    uint32_t i;

    for (i = 0; i < field_count; i++) {
        headers[i].name = lend(fields[i].name, strlen(fields[i].name));
        headers[i].value = lend(fields[i].value, strlen(fields[i].value));
    }
    request->struct_size = (uint32_t)sizeof(ht_request);
    request->header_count = field_count;
    request->headers = headers;
    request->method = lend(method, strlen(method));
    request->path = lend(path, strlen(path));
    request->query = lend(query, strlen(query));
    request->body = lend(body, body_len);
    request->invocation_id = lend("00112233445566778899aabbccddeeff", 32);
    request->deadline_ns = host_now_ns() + 3000000000u;
    invocation->alive = ALIVE;
    invocation->status = 200;

    result = hairtrigger_function.invoke(&host, state, invocation, request);
    print_outcome(name, result, invocation);

    /* All that was lent ends with invoke. */
    for (i = 0; i < field_count; i++) {
        take_back(headers[i].name);
        take_back(headers[i].value);
    }
    free(headers);
    take_back(request->method);
    take_back(request->path);
    take_back(request->query);
    take_back(request->body);
    take_back(request->invocation_id);
    free(request);
    for (i = 0; i < invocation->header_count; i++) {
        free(invocation->headers[i]);
    }
    for (i = 0; i < invocation->allocation_count; i++) {
        free(invocation->allocations[i]);
    }
    end_room(invocation);
    free(invocation->body);
    memset(invocation, 0, sizeof(*invocation));
    free(invocation);
}

/* ---- all cases ----------------------------------------------------------------------------------- */

#define MANY 100u

int main(void) {
    const ht_function *function = &hairtrigger_function;
    void *state = NULL;
    const field binary_type[] = {{"content-type", "application/x-everything"}};
    field many[MANY];
    char names[MANY][16];
    uint8_t every_byte[256];
    size_t large_len = (size_t)1 << 20, i;
    uint8_t *large;

    if (function->abi_version != HT_ABI_VERSION || function->struct_size != sizeof(ht_function) ||
        function->invoke == NULL) {
        fprintf(stderr, "abi-host: the plugin's descriptor is not of ABI version %u\n", HT_ABI_VERSION);
        return 2;
    }
    if (function->init != NULL && function->init(&host, &state) != 0) {
        fprintf(stderr, "abi-host: init refused\n");
        return 2;
    }
    if (function->worker_start != NULL && function->worker_start(&host, state) != 0) {
        fprintf(stderr, "abi-host: worker_start refused\n");
        return 2;
    }

    for (i = 0; i < sizeof(every_byte); i++) {
        every_byte[i] = (uint8_t)i;
    }
    for (i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "x-field-%u", (unsigned)i);
        many[i].name = names[i];
        many[i].value = i % 2 == 0 ? "" : "odd";
    }
    many[MANY - 1].name = "content-type";
    many[MANY - 1].value = "text/last";
    /* Room for the oversize body too: one byte more than a response may have. */
    large = (uint8_t *)must(malloc(MAX_RESPONSE + 1));
    for (i = 0; i < MAX_RESPONSE + 1; i++) {
        large[i] = (uint8_t)(i * 31 % 251);
    }

    run(state, "get", "GET", "/echo/a", "b=c", NULL, 0, NULL, 0);
    run(state, "get-bare", "GET", "/", "", NULL, 0, NULL, 0);
    run(state, "empty", "POST", "/echo", "", NULL, 0, NULL, 0);
    run(state, "binary", "POST", "/echo", "", binary_type, 1, every_byte, sizeof(every_byte));
    run(state, "mebibyte", "PUT", "/echo", "", binary_type, 1, large, large_len);
    run(state, "many-headers", "POST", "/echo", "", many, MANY, "x", 1);
    run(state, "limit", "POST", "/echo", "", NULL, 0, large, MAX_RESPONSE);
    run(state, "oversize", "POST", "/echo", "", NULL, 0, large, MAX_RESPONSE + 1);
    run(state, "after-oversize", "POST", "/echo", "", NULL, 0, "still here", 10);

    free(large);
    if (function->shutdown != NULL) {
        function->shutdown(&host, state);
    }
    return 0;
}

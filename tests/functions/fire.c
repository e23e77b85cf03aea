/*
 * fire: makes as many system calls as it is told, of those that it is told, with arguments as bad as they come within
 * the conditions that it is told. It may well unmap itself: that is its own affair.
 *
 * The request's body is words of 64 bits: a seed, how many calls, how many rules, and the rules. A rule is the number
 * of a call, how often it is drawn beside the others, how many conditions it has, and the conditions, each an index of
 * an argument, a mask, and what the argument must be under it. The answer is how many calls came back, and how many
 * of them without an error.
 */
#define _GNU_SOURCE
#include <hairtrigger.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define SCRATCH (16 * PAGE)
#define MOST_RULES 512
#define MOST_CONDITIONS 4
#define ARGUMENTS 6

typedef struct condition {
    uint64_t argument, mask, value;
} condition;

typedef struct rule {
    uint64_t number, weight, conditions;
    condition condition[MOST_CONDITIONS];
} rule;

static rule rules[MOST_RULES];
static uint64_t random_state;
/* Mapped once a worker: memory with nothing behind it, memory that cannot be written, and where there is none. */
static uint8_t *scratch, *read_only, *gone;

static uint64_t draw(void) { /* splitmix */
    uint64_t z = random_state += 0x9e3779b97f4a7c15ul;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebul;
    return z ^ (z >> 31);
}

static uint64_t below(uint64_t bound) {
    return draw() % bound;
}

static long call(uint64_t number, const uint64_t *a) {
    long result;
    register uint64_t r10 __asm__("r10") = a[3];
    register uint64_t r8 __asm__("r8") = a[4];
    register uint64_t r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request);

static uint64_t pointer(const ht_request *request, uint8_t *reply) {
    switch (below(16)) {
    case 0: return 0;
    case 1: return 1;
    case 2: return (uint64_t)gone;
    case 3: return (uint64_t)read_only;
    case 4: return (uint64_t)scratch + SCRATCH - below(64); /* runs into what cannot be touched */
    case 5: return (uint64_t)scratch + SCRATCH;
    case 6: return 0xffff888000000000ul; /* the kernel's view of all memory */
    case 7: return 0x8000000000000000ul; /* no address at all */
    case 8: return 0xffffffffff600000ul; /* the vsyscall page */
    case 9: return 0x7ffffffff000ul - below(2); /* the end of what a process may have */
    case 10: return below(8) != 0 ? draw() : getauxval(AT_SYSINFO_EHDR);
    case 11: return below(8) != 0 ? (uint64_t)request->body.data : (uint64_t)invoke;
    case 12: return below(8) != 0 ? (uint64_t)scratch + 1 : (uint64_t)reply;
    default: return (uint64_t)scratch + below(SCRATCH / 8) * 8;
    }
}

static uint64_t number(void) {
    static const uint64_t edges[] = {
        0, 0, 1, 2, 3, 7, 8, 16, 100, 1000, 4095, PAGE, PAGE + 1, SCRATCH, 1ul << 20, 1ul << 30, 0x7fffffff, 0x80000000,
        0xffffffff, 1ul << 32, 1ul << 47, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, -1ul,
    };
    switch (below(4)) {
    case 0: return 1ul << below(64);
    case 1: return below(128);
    default: return edges[below(sizeof(edges) / sizeof(edges[0]))];
    }
}

static uint64_t descriptor(void) {
    static const int known[] = {-1, -100 /* AT_FDCWD */, 0, 3, 4, 60, 61, 62, 63, 64, 1024, 0x7fffffff};
    return below(32) == 0 ? 1 + below(2) : (uint64_t)known[below(sizeof(known) / sizeof(known[0]))];
}

static uint64_t argument(const ht_request *request, uint8_t *reply) {
    switch (below(8)) {
    case 0: return draw();
    case 1: return descriptor();
    case 2:
    case 3:
    case 4: return number();
    default: return pointer(request, reply);
    }
}

/* What pointers lead to: more of the same, so that it reads as times, vectors, sets and actions. */
static void fill(const ht_request *request, uint8_t *reply) {
    uint64_t *words = (uint64_t *)scratch;
    for (size_t i = 0; i < SCRATCH / 8; i += 1 + below(64)) {
        words[i] = below(2) == 0 ? below(4) : argument(request, reply);
    }
}

static const rule *pick(uint64_t count, uint64_t weights) {
    uint64_t at = below(weights);
    for (uint64_t i = 0; i < count; i++) {
        if (at < rules[i].weight) {
            return &rules[i];
        }
        at -= rules[i].weight;
    }
    return &rules[0];
}

static int prepare(void) {
    if (scratch != NULL) {
        return 0;
    }
    uint8_t *area = mmap(NULL, SCRATCH + 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) {
        return -1;
    }
    scratch = area;
    gone = area + SCRATCH;
    read_only = area + SCRATCH + 2 * PAGE;
    return munmap(gone, 2 * PAGE) | mprotect(read_only, PAGE, PROT_READ);
}

/* Reads the rules; how many there are, or 0 if the body is no such list. */
static uint64_t take(const ht_request *request, uint64_t *calls, uint64_t *weights) {
    const uint8_t *at = request->body.data, *end = at + request->body.len;
    uint64_t head[3];
    if ((size_t)(end - at) < sizeof(head)) {
        return 0;
    }
    memcpy(head, at, sizeof(head));
    at += sizeof(head);
    random_state = head[0];
    *calls = head[1];
    *weights = 0;
    for (uint64_t i = 0; i < head[2]; i++) {
        size_t conditions;
        if (i == MOST_RULES || (size_t)(end - at) < 24) {
            return 0;
        }
        memcpy(&rules[i], at, 24);
        at += 24;
        conditions = rules[i].conditions * sizeof(condition);
        if (rules[i].conditions > MOST_CONDITIONS || (size_t)(end - at) < conditions) {
            return 0;
        }
        memcpy(rules[i].condition, at, conditions);
        at += conditions;
        *weights += rules[i].weight;
    }
    return *weights == 0 ? 0 : head[2];
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    uint64_t calls, weights, count = take(request, &calls, &weights), done, well = 0;
    uint8_t *reply = host->reserve(invocation, PAGE);
    char text[64];
    (void)state;
    if (count == 0) {
        host->set_status(invocation, 400);
        return ht_write_text(host, invocation, "no rules");
    }
    if (prepare() != 0) {
        return ht_write_text(host, invocation, "no memory");
    }
    fill(request, reply);
    for (done = 0; done < calls; done++) {
        const rule *drawn = pick(count, weights);
        uint64_t arguments[ARGUMENTS];
        for (int i = 0; i < ARGUMENTS; i++) {
            arguments[i] = argument(request, reply);
        }
        for (uint64_t i = 0; i < drawn->conditions; i++) {
            const condition *must = &drawn->condition[i];
            uint64_t *bent = &arguments[must->argument % ARGUMENTS];
            *bent = (*bent & ~must->mask) | must->value;
        }
        well += call(drawn->number, arguments) >= 0;
    }
    snprintf(text, sizeof(text), "%lu calls, %lu well", done, well);
    return ht_write_text(host, invocation, text);
}

HT_FUNCTION(invoke);

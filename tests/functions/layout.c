/*
 * layout: says what an attacker would like to know of this process: its stack canary, and where its code, its
 * stack, its heap and the C library lie.
 */
#include <hairtrigger.h>
#include <stdio.h>
#include <stdlib.h>

static void *heap;

static int32_t init(const ht_host *host, void **state) {
    (void)host;
    (void)state;
    heap = malloc(1);
    return heap == NULL;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    char text[160];
    uint64_t canary;
    (void)state;
    (void)request;
    __asm__("mov %%fs:0x28, %0" : "=r"(canary));
    snprintf(text, sizeof(text), "%016llx %p %p %p %p", (unsigned long long)canary, (void *)(uintptr_t)invoke,
             (void *)text, heap, (void *)(uintptr_t)malloc);
    return ht_write_text(host, invocation, text);
}

HT_FUNCTION_WITH(init, NULL, invoke, NULL);

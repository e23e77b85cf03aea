/*
 * Crime 68: leaves `invoke` by a jump that never comes back to the host: to a stack of its own that it prepared
 * while it was loaded, whose end is the end of the process.
 *
 * Expected: whatever the host's frames expected, the invocation has no answer: exited, with code 0.
 */
#include "crime.h"
#include <setjmp.h>
#include <ucontext.h>

#define STACK ((size_t)64 << 10)

static ucontext_t loading, apart;
static jmp_buf away;

/* Stays in its frame, so that there is something to jump to; its return is an exit. */
static void wait_for_the_jump(void) {
    if (setjmp(away) == 0) {
        swapcontext(&apart, &loading);
    }
}

__attribute__((constructor)) static void prepare(void) {
    static char stack[STACK];
    getcontext(&apart);
    apart.uc_stack.ss_sp = stack;
    apart.uc_stack.ss_size = sizeof(stack);
    apart.uc_link = NULL;
    makecontext(&apart, wait_for_the_jump, 0);
    swapcontext(&loading, &apart);
}

static const char *commit(const crime_scene *scene) {
    (void)scene;
    longjmp(away, 1);
}

CRIME(commit);

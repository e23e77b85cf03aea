/*
 * Crime 48: calls into the page at a fixed address where the kernel once kept calls that are none.
 *
 * Expected: SIGSEGV anywhere but at its three entries, and those ask for the time or the processor, which anybody may:
 * the filter is asked for them as well. A host without the page answers them by SIGSEGV, which is as good.
 */
#include "crime.h"
#include <setjmp.h>
#include <signal.h>

#define PAGE 0xffffffffff600000u
#define TIME 0x400u
#define BETWEEN 0x123u

static sigjmp_buf before;

static void fault(int number) { siglongjmp(before, number); }

static const char *commit(const crime_scene *scene) {
    const uintptr_t address = PAGE + (crime_is(scene, "time") ? TIME : BETWEEN);
    long (*call)(long *);
    /* A number to code, by a way that the standard knows. */
    memcpy(&call, &address, sizeof(call));
    if (crime_is(scene, "time")) {
        struct sigaction action, old;
        memset(&action, 0, sizeof(action));
        action.sa_handler = fault;
        sigaction(SIGSEGV, &action, &old);
        if (sigsetjmp(before, 1) == 0) {
            call(NULL);
        }
        sigaction(SIGSEGV, &old, NULL);
        return crime_committed("the time, or nothing");
    }
    call(NULL);
    return crime_committed("vsyscall");
}

CRIME(commit);

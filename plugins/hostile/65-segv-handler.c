/*
 * Crime 65: crashes, and handles the crash by crashing again at the same place, for ever.
 *
 * Expected: killed at its time limit. Unconfined, it stops by itself after 16 million rounds.
 */
#include "crime.h"
#include <setjmp.h>
#include <signal.h>

#define ROUNDS (1u << 24)

static sigjmp_buf out;
static volatile unsigned rounds;

/* Returns to the instruction that crashed. */
static void again(int signal) {
    (void)signal;
    if (++rounds == ROUNDS) {
        siglongjmp(out, 1);
    }
}

static const char *commit(const crime_scene *scene) {
    struct sigaction action;
    volatile char *volatile nothing = NULL;
    (void)scene;
    memset(&action, 0, sizeof(action));
    action.sa_handler = again;
    if (sigaction(SIGSEGV, &action, NULL) != 0) {
        return crime_refused("sigaction");
    }
    rounds = 0;
    if (sigsetjmp(out, 1) == 0) {
        *nothing = 1;
    }
    return crime_committed("crashes without end");
}

CRIME(commit);

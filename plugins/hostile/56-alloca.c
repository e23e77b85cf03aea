/*
 * Crime 56: allocates more on the stack than there is, and so steps over the page that guards its end.
 *
 * Expected: a fault, naming SIGSEGV: behind the stack's limit there is nothing for as far as one step goes. Where
 * stacks have no limit it comes to nothing.
 */
#include "crime.h"
#include <alloca.h>

/* Twice the limit, and less than the gap that the kernel keeps below a stack (128 MiB). */
#define STEP ((size_t)16 << 20)

static const char *commit(const crime_scene *scene) {
    volatile char *room = alloca(STEP);
    (void)scene;
    room[0] = 1;
    return room[0] == 1 ? crime_committed("behind the guard") : crime_committed("nothing");
}

CRIME(commit);

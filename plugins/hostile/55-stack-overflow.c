/*
 * Crime 55: recurses until the stack is used up.
 *
 * Expected: a fault, SIGSEGV. Where stacks have no limit it stops by itself at 4 GiB.
 */
#include "crime.h"

#define FRAME 1024
#define FRAMES ((uint32_t)4 << 20)

/* The frame is written before and read after the call, through a volatile: no compiler can turn this into a
 * loop or leave the frame out. */
static uint32_t descend(uint32_t depth) {
    volatile uint8_t frame[FRAME];
    uint32_t below;
    frame[depth % FRAME] = 1;
    below = depth == FRAMES ? 0 : descend(depth + 1);
    return below + frame[depth % FRAME];
}

static const char *commit(const crime_scene *scene) {
    (void)scene;
    return crime_committed(descend(0) > 0 ? "4 GiB of stack" : "nothing");
}

CRIME(commit);

/*
 * Crime 46: makes a system call by the gate of 32-bit programs, whose numbers mean others: 20 is getpid there, and
 * writev here, which is allowed.
 *
 * Expected: killed at once, without a name. Should it succeed, it has asked for its pid.
 */
#include "crime.h"

#define GETPID_32 20

static const char *commit(const crime_scene *scene) {
    long result = GETPID_32;
    (void)scene;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    if (result < 0) {
        errno = (int)-result;
        return crime_refused("int 0x80");
    }
    return crime_committed("int 0x80");
}

CRIME(commit);

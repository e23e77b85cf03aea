/*
 * Crime 10: makes code at run time: memory that can be written and executed, or first the one and then the other, and
 * runs it.
 *
 * Expected: at invoke EACCES, however it is tried. In init the loader needs memory that becomes executable; one that is
 * both at once is killed there.
 */
#include "crime.h"
#include <sys/mman.h>

#define PAGE 4096
#define READ_IMPLIES_EXEC 0x400000

/* mov eax, 42; ret */
static const uint8_t code[] = {0xb8, 42, 0, 0, 0, 0xc3};

static const char *run(void *memory) {
    int (*function)(void);
    /* Data to code, by a way that the standard knows. */
    memcpy(&function, &memory, sizeof(function));
    return function() == 42 ? crime_committed("new code ran") : crime_committed("new code");
}

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {"execute", "mmap", SYS_mmap, {0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
        {NULL, "pkey_mprotect", SYS_pkey_mprotect, {0, PAGE, PROT_READ | PROT_EXEC, -1}},
        {NULL, "personality", SYS_personality, {READ_IMPLIES_EXEC}},
        {NULL, "remap_file_pages", SYS_remap_file_pages, {0, 0, 0, 0, 0}},
    };
    const int first = PROT_READ | PROT_WRITE | (crime_is(scene, "") ? PROT_EXEC : 0);
    const int then = PROT_READ | PROT_EXEC | (crime_is(scene, "both") ? PROT_WRITE : 0);
    const char *said;
    void *memory;
    if (!crime_is(scene, "") && !crime_is(scene, "then") && !crime_is(scene, "both")) {
        return CRIME_MAKE(scene, calls);
    }
    memory = mmap(NULL, PAGE, first, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return crime_refused("mmap");
    }
    memcpy(memory, code, sizeof(code));
    said = !crime_is(scene, "") && mprotect(memory, PAGE, then) != 0 ? crime_refused("mprotect") : run(memory);
    munmap(memory, PAGE);
    return said;
}

CRIME(commit);

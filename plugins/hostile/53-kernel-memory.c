/*
 * Crime 53: has the kernel use memory for it, which is none of the process's own.
 *
 * (none)    in the buffers of pipes: killed at the first, violation, naming pipe2
 * tables    in page tables: reads one byte of each 2 MiB of a mapping of nothing. No page of it is memory, and
 *           RLIMIT_DATA does not count it
 * mappings  in records of mappings, of which it makes as many as the kernel allows, over and over
 *
 * Expected of the last two: what the kernel uses counts as the function's memory, and it is killed at that limit, out
 * of memory. In its first milliseconds a worker has no group of its own, and only its function's limit holds: so the
 * tables come to more than that, and the mappings are made again for longer than those. Unconfined, they stop by
 * themselves: at 16 pipes of 1 MiB, 512 MiB of page tables, and 64 times as many mappings as a process may have.
 */
#include "crime.h"
#include <fcntl.h>
#include <sys/mman.h>

#define PIPES 16
#define PIPE_ROOM (1 << 20)
#define TABLE ((size_t)2 << 20)
#define TABLES ((size_t)131072)
#define PAGE ((size_t)4096)
#define MAPPINGS ((size_t)1000000)
#define ROUNDS 64

static const char *fill_pipes(void) {
    static const char bytes[4096];
    int ends[PIPES][2];
    int count, i;
    for (count = 0; count < PIPES && pipe2(ends[count], O_NONBLOCK | O_CLOEXEC) == 0; count++) {
        fcntl(ends[count][1], F_SETPIPE_SZ, PIPE_ROOM);
        while (write(ends[count][1], bytes, sizeof(bytes)) > 0) {
        }
    }
    for (i = 0; i < count; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
    }
    return count == 0 ? crime_refused("pipe2") : crime_committed("pipes were filled");
}

static char *map_nothing(size_t length, int rights) {
    return mmap(NULL, length, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static const char *fill_tables(void) {
    volatile char *nothing = map_nothing(TABLE * TABLES, PROT_READ);
    size_t i;
    if (nothing == MAP_FAILED) {
        return crime_refused("mmap");
    }
    /* No zero page of 2 MiB, which would need no table of its own. */
    madvise((void *)nothing, TABLE * TABLES, MADV_NOHUGEPAGE);
    for (i = 0; i < TABLES; i++) {
        (void)nothing[i * TABLE];
    }
    munmap((void *)nothing, TABLE * TABLES);
    return crime_committed("page tables were filled");
}

static const char *make_mappings(void) {
    int round;
    for (round = 0; round < ROUNDS; round++) {
        char *all = map_nothing(PAGE * MAPPINGS, PROT_NONE);
        size_t i;
        if (all == MAP_FAILED) {
            return crime_refused("mmap");
        }
        /* Neighbours with different rights are never merged. */
        for (i = 1; i < MAPPINGS && mprotect(all + i * PAGE, PAGE, PROT_READ) == 0; i += 2) {
        }
        munmap(all, PAGE * MAPPINGS);
    }
    return crime_committed("mappings were made");
}

static const char *commit(const crime_scene *scene) {
    if (crime_is(scene, "")) {
        return fill_pipes();
    }
    if (crime_is(scene, "tables")) {
        return fill_tables();
    }
    return crime_is(scene, "mappings") ? make_mappings() : crime_unknown(scene);
}

CRIME(commit);

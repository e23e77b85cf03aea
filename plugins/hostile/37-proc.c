/*
 * Crime 37: reads what /proc, /sys and /dev say of the host and of others.
 *
 * Expected: at invoke nothing can be opened; in init none of them is there.
 */
#include "crime.h"
#include <fcntl.h>

static const char *commit(const crime_scene *scene) {
    static const char *const paths[][2] = {
        {"", "/proc/self/status"},  {"maps", "/proc/self/maps"}, {"environ", "/proc/1/environ"},
        {"root", "/proc/1/root"},   {"sys", "/sys/kernel"},      {"groups", "/sys/fs/cgroup"},
        {"memory", "/dev/mem"},     {"log", "/dev/kmsg"},        {"shared", "/dev/shm"},
        {"temporary", "/tmp"},      {"run", "/run"},             {"home", "/root"},
    };
    size_t i;
    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (crime_is(scene, paths[i][0])) {
            const int file = open(paths[i][1], O_RDONLY | O_CLOEXEC);
            if (file >= 0) {
                close(file);
            }
            return crime_result("open", file);
        }
    }
    return crime_unknown(scene);
}

CRIME(commit);

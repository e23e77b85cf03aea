/*
 * Crime 17: connects to the abstract unix socket that the target names: these have no file, and no file's permissions.
 *
 * Expected: killed at socket, before there is one, and at connect whatever it is given.
 */
#include "crime.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char *commit(const crime_scene *scene) {
    struct sockaddr_un address;
    const size_t length = strlen(scene->target);
    const char *said;
    int connection = -1;
    memset(&address, 0, sizeof(address));
    address.sun_family = AF_UNIX;
    if (length >= sizeof(address.sun_path)) {
        return crime_unknown(scene);
    }
    /* Behind a byte that is 0. */
    memcpy(address.sun_path + 1, scene->target, length);
    if (crime_is(scene, "")) {
        connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connection < 0) {
            return crime_refused("socket");
        }
    }
    said = crime_result("connect", connect(connection, (const struct sockaddr *)&address,
                                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)));
    if (connection >= 0) {
        close(connection);
    }
    return said;
}

CRIME(commit);

/*
 * Crime 18: connects to the daemon's administration, at the path that the target names.
 *
 * Expected: killed at socket, before there is one.
 */
#include "crime.h"
#include <sys/socket.h>
#include <sys/un.h>

static const char *commit(const crime_scene *scene) {
    struct sockaddr_un address;
    const char *said;
    int connection;
    memset(&address, 0, sizeof(address));
    address.sun_family = AF_UNIX;
    if (strlen(scene->target) >= sizeof(address.sun_path)) {
        return crime_unknown(scene);
    }
    memcpy(address.sun_path, scene->target, strlen(scene->target));
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0) {
        return crime_refused("socket");
    }
    said = crime_result("connect", connect(connection, (const struct sockaddr *)&address, sizeof(address)));
    close(connection);
    return said;
}

CRIME(commit);

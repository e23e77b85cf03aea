/*
 * Crime 13: makes a TCP socket and connects to the daemon, at the port of this machine that the target names.
 *
 * Expected: killed at socket, before there is one.
 */
#include "crime.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static const char *commit(const crime_scene *scene) {
    struct sockaddr_in address;
    const char *said;
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0) {
        return crime_refused("socket");
    }
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(scene->target));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    said = crime_result("connect", connect(connection, (const struct sockaddr *)&address, sizeof(address)));
    close(connection);
    return said;
}

CRIME(commit);

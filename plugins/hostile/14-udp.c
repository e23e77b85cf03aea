/*
 * Crime 14: makes a UDP socket and sends to the port of this machine that the target names.
 *
 * Expected: killed at socket, before there is one, and at sendto whatever it is given.
 */
#include "crime.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static const char *commit(const crime_scene *scene) {
    struct sockaddr_in address;
    const char *said;
    int sender = -1;
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(scene->target));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (crime_is(scene, "")) {
        sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (sender < 0) {
            return crime_refused("socket");
        }
    }
    said = crime_result("sendto", sendto(sender, "crime", 5, 0, (const struct sockaddr *)&address, sizeof(address)));
    if (sender >= 0) {
        close(sender);
    }
    return said;
}

CRIME(commit);

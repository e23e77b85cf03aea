/*
 * Crime 15: makes sockets that see or set what lies below: raw, netlink, packet.
 *
 * Expected: killed at socket, whichever it is.
 */
#include "crime.h"
#include <netinet/in.h>
#include <sys/socket.h>

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {"raw", "socket", CRIME_GIVES_FD | SYS_socket, {AF_INET, SOCK_RAW, IPPROTO_ICMP}},
        {"netlink", "socket", CRIME_GIVES_FD | SYS_socket, {AF_NETLINK, SOCK_RAW, 0}},
        {"packet", "socket", CRIME_GIVES_FD | SYS_socket, {AF_PACKET, SOCK_RAW, 0x300}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

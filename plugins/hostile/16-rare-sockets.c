/*
 * Crime 16: makes sockets of families that no namespace keeps apart or few have looked at: towards the hypervisor
 * (vsock), the kernel's ciphers (alg), others.
 *
 * Expected: killed at socket, whichever it is.
 */
#include "crime.h"
#include <sys/socket.h>

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {"vsock", "socket", CRIME_GIVES_FD | SYS_socket, {AF_VSOCK, SOCK_STREAM, 0}},
        {"alg", "socket", CRIME_GIVES_FD | SYS_socket, {AF_ALG, SOCK_SEQPACKET, 0}},
        {"bluetooth", "socket", CRIME_GIVES_FD | SYS_socket, {AF_BLUETOOTH, SOCK_RAW, 0}},
        {"xdp", "socket", CRIME_GIVES_FD | SYS_socket, {44 /* AF_XDP */, SOCK_RAW, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);

/*
 * Crime 20: floods a socket with descriptors in flight, which count for nobody until they are received.
 *
 * Expected: killed at socketpair, before there is one, and at sendmsg and recvmsg whatever they are given. Should there
 * be sockets, they take what is in flight with them when they are closed.
 */
#include "crime.h"
#include <sys/socket.h>

#define MESSAGES 1024
#define AT_ONCE 253

static const char *commit(const crime_scene *scene) {
    static union {
        char room[CMSG_SPACE(AT_ONCE * sizeof(int))];
        uint64_t aligned;
    } rights;
    struct cmsghdr *header = (struct cmsghdr *)&rights;
    struct iovec byte = {(void *)"x", 1};
    struct msghdr message;
    int pair[2], sent;
    const crime_call calls[] = {
        {NULL, "sendmsg", SYS_sendmsg, {-1, (long)&message, 0}},
        {NULL, "recvmsg", SYS_recvmsg, {-1, (long)&message, 0}},
        {NULL, "sendmmsg", SYS_sendmmsg, {-1, (long)&message, 0, 0}},
    };
    memset(&message, 0, sizeof(message));
    message.msg_iov = &byte;
    message.msg_iovlen = 1;
    if (!crime_is(scene, "")) {
        return CRIME_MAKE(scene, calls);
    }
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        return crime_refused("socketpair");
    }
    /* Standard input, over and over: the array is all zero. */
    header->cmsg_len = CMSG_LEN(AT_ONCE * sizeof(int));
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    message.msg_control = header;
    message.msg_controllen = sizeof(rights.room);
    for (sent = 0; sent < MESSAGES && sendmsg(pair[0], &message, 0) >= 0; sent++) {
    }
    close(pair[0]);
    close(pair[1]);
    return sent == 0 ? crime_refused("sendmsg") : crime_committed("sendmsg");
}

CRIME(commit);

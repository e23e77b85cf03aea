/*
 * connects: does what the last part of the path says to the TCP port in the query, on 127.0.0.1, and says what
 * came of it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <hairtrigger.h>
#include <linux/netlink.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BELL 63 /* the channel's: the daemon has the same open file */

static struct sockaddr_in loopback(uint16_t port) {
    struct sockaddr_in address = {0};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int stream(int flags) { return socket(AF_INET, SOCK_STREAM | flags, 0); }

/* Sends a line and reads one. */
static int exchange(int socket, char *text, size_t room) {
    ssize_t got;
    if (send(socket, "ping\n", 5, MSG_NOSIGNAL) != 5) {
        return -1;
    }
    got = recv(socket, text, room - 1, 0);
    return got < 0 ? -1 : 0;
}

static int plain(uint16_t port, char *text, size_t room) {
    struct sockaddr_in address = loopback(port);
    int file = stream(SOCK_CLOEXEC);
    return connect(file, (struct sockaddr *)&address, sizeof(address)) != 0 ? -1 : exchange(file, text, room);
}

static int plain6(uint16_t port, char *text, size_t room) {
    struct sockaddr_in6 address = {0};
    int file = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    address.sin6_addr = in6addr_loopback;
    return connect(file, (struct sockaddr *)&address, sizeof(address)) != 0 ? -1 : exchange(file, text, room);
}

/* As event loops do it. */
static int watched(uint16_t port, char *text, size_t room) {
    struct sockaddr_in address = loopback(port), peer;
    struct epoll_event event = {EPOLLOUT, {0}};
    struct pollfd readable = {0, POLLIN, 0};
    socklen_t length = sizeof(int), size = sizeof(peer);
    int error = 1, on = 1, file = stream(SOCK_CLOEXEC | SOCK_NONBLOCK), set = epoll_create1(EPOLL_CLOEXEC);
    int copy = fcntl(set, F_DUPFD_CLOEXEC, 0), wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (connect(file, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS) {
        return -1;
    }
    if (copy < 0 || wake < 0 || epoll_ctl(copy, EPOLL_CTL_ADD, file, &event) != 0 ||
        epoll_wait(set, &event, 1, 5000) != 1 || getsockopt(file, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        return -1;
    }
    if (error != 0) {
        errno = error;
        return -1;
    }
    if (setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        setsockopt(file, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) != 0 ||
        getpeername(file, (struct sockaddr *)&peer, &size) != 0 || ntohs(peer.sin_port) != port) {
        return -1;
    }
    if (fcntl(file, F_SETFL, O_RDWR) != 0 || fcntl(file, F_SETFL, O_RDWR | O_NONBLOCK) != 0 ||
        ioctl(file, FIONBIO, &on) != 0 || send(file, "ping\n", 5, MSG_NOSIGNAL) != 5) {
        return -1;
    }
    readable.fd = file;
    if (poll(&readable, 1, 5000) != 1 || recv(file, text, room - 1, MSG_DONTWAIT) < 0) {
        return -1;
    }
    close(file), close(set), close(copy), close(wake);
    return 0;
}

static int past_connect(uint16_t port, int flags) {
    struct sockaddr_in address = loopback(port);
    return sendto(stream(0), "ping\n", 5, flags, (struct sockaddr *)&address, sizeof(address)) == 5 ? 0 : -1;
}

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    const char *whole = (const char *)request->path.data;
    const uint8_t *slash = memrchr(whole, '/', request->path.len);
    char digits[16] = {0}, text[128] = {0};
    struct sockaddr_in address;
    struct msghdr message = {0};
    ht_bytes command;
    uint16_t port;
    int result = -1, off = 0;
    (void)state;
    command.data = slash + 1;
    command.len = request->path.len - (size_t)(command.data - request->path.data);
    if (request->query.len >= sizeof(digits)) {
        return 1;
    }
    memcpy(digits, request->query.data, request->query.len);
    port = (uint16_t)atoi(digits);
    address = loopback(port);

    errno = 0;
    if (ht_equal(command, "plain")) {
        result = plain(port, text, sizeof(text));
    } else if (ht_equal(command, "plain6")) {
        result = plain6(port, text, sizeof(text));
    } else if (ht_equal(command, "watched")) {
        result = watched(port, text, sizeof(text));
    } else if (ht_equal(command, "fast")) { /* connects as it sends */
        result = past_connect(port, MSG_FASTOPEN);
    } else if (ht_equal(command, "to")) {
        result = past_connect(port, 0);
    } else if (ht_equal(command, "message")) {
        result = (int)sendmsg(stream(0), &message, 0);
    } else if (ht_equal(command, "take")) {
        result = (int)recvmsg(stream(0), &message, 0);
    } else if (ht_equal(command, "multipath")) {
        result = socket(AF_INET, SOCK_STREAM, 262);
    } else if (ht_equal(command, "udp")) {
        result = socket(AF_INET, SOCK_DGRAM, 0);
    } else if (ht_equal(command, "raw")) {
        result = socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
    } else if (ht_equal(command, "unix")) {
        result = socket(AF_UNIX, SOCK_STREAM, 0);
    } else if (ht_equal(command, "netlink")) {
        result = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    } else if (ht_equal(command, "pair")) {
        int ends[2];
        result = socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    } else if (ht_equal(command, "bind")) {
        result = bind(stream(0), (struct sockaddr *)&address, sizeof(address));
    } else if (ht_equal(command, "listen")) { /* binds by itself */
        result = listen(stream(0), 1);
    } else if (ht_equal(command, "accept")) {
        result = accept(stream(0), NULL, NULL);
    } else if (ht_equal(command, "option")) { /* connects when something is sent */
        result = setsockopt(stream(0), IPPROTO_TCP, 30, &(int){1}, sizeof(int));
    } else if (ht_equal(command, "device")) {
        result = setsockopt(stream(0), SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
    } else if (ht_equal(command, "bell-flags")) { /* the daemon would wait when it reads */
        result = fcntl(BELL, F_SETFL, 0);
    } else if (ht_equal(command, "bell-blocks")) {
        result = ioctl(BELL, FIONBIO, &off);
    } else if (ht_equal(command, "bell-copy")) {
        result = fcntl(BELL, F_DUPFD_CLOEXEC, 0);
    }
    if (result != 0) {
        return ht_write_text(host, invocation, strerror(errno));
    }
    return ht_write_text(host, invocation, text[0] != 0 ? text : "done");
}

HT_FUNCTION(invoke);

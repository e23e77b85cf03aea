/*
 * Crime 13: makes a TCP socket and connects to this machine.
 *
 * Expected: killed at socket, before there is one: 502, outcome "violation", naming socket.
 * Should it get further, the answer says how far.
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <hairtrigger.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    struct sockaddr_in address;
    int result, connection = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;
    (void)request;
    if (connection < 0) {
        ht_write_text(host, invocation, "socket: ");
        return ht_write_text(host, invocation, strerror(errno));
    }
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons(8080);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    result = connect(connection, (const struct sockaddr *)&address, sizeof(address));
    ht_write_text(host, invocation, "connect: ");
    ht_write_text(host, invocation, result == 0 ? "connected" : strerror(errno));
    close(connection);
    return 0;
}

HT_FUNCTION(invoke);

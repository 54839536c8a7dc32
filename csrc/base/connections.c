/*
 * connections.c: connections of a server as the system knows them. Bun shows none before a request has come over it, and knows no limit
 * on the time until one has.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "wrinklefree.h"

/* The TCP port of an address; 0 where it has none. */
static uint32_t port_of(const struct sockaddr_storage *name) {
    if (name->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)name)->sin_port);
    return name->ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)name)->sin6_port) : 0;
}

uint32_t wf_quiet_peer(int32_t descriptor, uint32_t port) {
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t own_size = sizeof own, peer_size = sizeof peer;
    int unsent = 0;
    if (getsockname(descriptor, (struct sockaddr *)&own, &own_size) != 0 || port_of(&own) != port)
        return 0;
    if (getpeername(descriptor, (struct sockaddr *)&peer, &peer_size) != 0 || ioctl(descriptor, TIOCOUTQ, &unsent) != 0 ||
        unsent > 0)
        return 0;
    return port_of(&peer);
}

void wf_end_connection(int32_t descriptor) { (void)shutdown(descriptor, SHUT_RDWR); }

/*
 * connections.c: connections of a server as the system knows them. Bun shows none before a request has come over it, and knows no limit
 * on the time until one has.
 */
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/ports.h"
#include "wrinklefree.h"

uint32_t wf_quiet_peer(int32_t descriptor, uint32_t port) {
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t own_size = sizeof own, peer_size = sizeof peer;
    int unsent = 0;
    if (getsockname(descriptor, (struct sockaddr *)&own, &own_size) != 0 || wf_port_of(&own) != port)
        return 0;
    if (getpeername(descriptor, (struct sockaddr *)&peer, &peer_size) != 0 || ioctl(descriptor, TIOCOUTQ, &unsent) != 0 ||
        unsent > 0)
        return 0;
    return wf_port_of(&peer);
}

void wf_end_connection(int32_t descriptor) { (void)shutdown(descriptor, SHUT_RDWR); }

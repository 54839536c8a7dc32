/*
 * ports.h: the TCP port of a socket's address.
 */
#ifndef WF_PORTS_H
#define WF_PORTS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

/* 0 where an address has none. */
static inline uint32_t wf_port_of(const struct sockaddr_storage *name) {
    if (name->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)name)->sin_port);
    return name->ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)name)->sin6_port) : 0;
}

#endif

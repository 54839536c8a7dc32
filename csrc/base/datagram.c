/*
 * datagram.c: a datagram to a unix socket, which is how a service tells systemd about itself. Bun has none.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "wrinklefree.h"

int32_t wf_send_datagram(const char *socket_name, const uint8_t *bytes, uint32_t size, char *error, uint32_t error_size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = strlen(socket_name);
    if (length == 0 || length >= sizeof address.sun_path)
        return wf_fail(error, error_size, "'%s' is no name of a unix socket", socket_name);
    memcpy(address.sun_path, socket_name, length);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = 0;
    const int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return wf_fail(error, error_size, "no socket for a datagram to '%s': %s", socket_name, strerror(errno));
    const ssize_t sent = sendto(descriptor, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address,
                                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    const int failure = errno;
    close(descriptor);
    return sent < 0 ? wf_fail(error, error_size, "can't send to '%s': %s", socket_name, strerror(failure)) : 0;
}

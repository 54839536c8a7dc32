/*
 * doorbell.c: a socket pair, because a write to a pipe that nobody reads any more would raise SIGPIPE.
 */
#include "base/doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

int wf_doorbell_open(int *doorbell, int *bell, char *error, uint32_t error_size) {
    int ends[2] = {-1, -1};
    *doorbell = *bell = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return wf_fail(error, error_size, "no socket pair for the engine's events: %s", strerror(errno));
    for (int i = 0; i < 2; i++) {
        (void)fcntl(ends[i], F_SETFL, O_NONBLOCK);
        (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
    *doorbell = ends[0];
    *bell = ends[1];
    return 0;
}

void wf_doorbell_ring(int bell) {
    const ssize_t ignored = send(bell, "!", 1, MSG_NOSIGNAL);
    (void)ignored;
}

void wf_doorbell_close(int *end) {
    if (*end >= 0)
        close(*end);
    *end = -1;
}

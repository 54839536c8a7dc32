/*
 * listener.c: gives an event loop another listening socket. Bun's server makes its own socket and takes none that was passed to the
 * process; once that socket's descriptor means another socket, the server accepts the other's connections.
 *
 * The event loop waits with epoll, which knows a socket by its descriptor together with what that meant when it was registered. So the
 * registration is read (the system shows it in /proc) and made again for the new socket.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/ports.h"
#include "wrinklefree.h"

/* How an epoll instance watches a descriptor. */
struct registration {
    int epoll;
    struct epoll_event event;
};

static bool listens(int descriptor) {
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value != 0;
}

/* The TCP port of a socket; 0 for any other descriptor. */
static uint32_t port_of(int descriptor) {
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof name;
    return getsockname(descriptor, (struct sockaddr *)&name, &size) == 0 ? wf_port_of(&name) : 0;
}

int32_t wf_listening_socket(uint32_t port, int32_t after) {
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL)
        return -1;
    int found = -1;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        const int descriptor = atoi(entry->d_name); /* "." and ".." are 0, which is no socket that listens */
        if (descriptor > after && (found < 0 || descriptor < found) && port_of(descriptor) == port && listens(descriptor))
            found = descriptor;
    }
    closedir(directory);
    return found;
}

/* Looks for a descriptor among those that one open file of this process watches; false when that is no epoll instance, or watches others. */
static bool read_registration(const char *name, int descriptor, struct registration *found) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%s", name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool is_found = false;
    int watched = 0;
    unsigned events = 0;
    uint64_t data = 0;
    for (char line[256]; !is_found && fgets(line, sizeof line, file) != NULL;)
        is_found = sscanf(line, "tfd: %d events: %x data: %" SCNx64, &watched, &events, &data) == 3 && watched == descriptor;
    (void)fclose(file);
    if (is_found)
        *found = (struct registration){.epoll = atoi(name), .event = {.events = events, .data.u64 = data}};
    return is_found;
}

static bool find_registration(int descriptor, struct registration *found) {
    DIR *directory = opendir("/proc/self/fdinfo");
    if (directory == NULL)
        return false;
    bool is_found = false;
    for (const struct dirent *entry; !is_found && (entry = readdir(directory)) != NULL;)
        is_found = read_registration(entry->d_name, descriptor, found);
    closedir(directory);
    return is_found;
}

int32_t wf_replace_listener(int32_t listener, int32_t by, char *error, uint32_t error_size) {
    struct registration registration;
    if (!listens(by))
        return wf_fail(error, error_size, "descriptor %d is no socket that listens", by);
    if (!find_registration(listener, &registration))
        return wf_fail(error, error_size, "no event loop watches descriptor %d, as far as /proc/self/fdinfo shows", listener);
    /* The event loop accepts until there is nothing left to accept. */
    const int flags = fcntl(by, F_GETFL);
    if (flags < 0 || fcntl(by, F_SETFL, flags | O_NONBLOCK) != 0 || dup3(by, listener, O_CLOEXEC) < 0)
        return wf_fail(error, error_size, "can't listen on descriptor %d: %s", by, strerror(errno));
    if (epoll_ctl(registration.epoll, EPOLL_CTL_ADD, listener, &registration.event) != 0)
        return wf_fail(error, error_size, "can't wait for connections on descriptor %d: %s", by, strerror(errno));
    return 0;
}

int32_t wf_leave_listener(int32_t listener, char *error, uint32_t error_size) {
    struct registration registration;
    if (!find_registration(listener, &registration))
        return wf_fail(error, error_size, "no event loop watches descriptor %d, as far as /proc/self/fdinfo shows", listener);
    if (epoll_ctl(registration.epoll, EPOLL_CTL_DEL, listener, &registration.event) != 0)
        return wf_fail(error, error_size, "can't leave descriptor %d alone: %s", listener, strerror(errno));
    return 0;
}

int32_t wf_listening_address(int32_t descriptor, char *address, uint32_t size) {
    struct sockaddr_storage name = {0};
    socklen_t length = sizeof name;
    int type = 0;
    socklen_t type_size = sizeof type;
    char text[INET6_ADDRSTRLEN] = "";
    int written = -1;
    if (!listens(descriptor) || getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &type_size) != 0 || type != SOCK_STREAM ||
        getsockname(descriptor, (struct sockaddr *)&name, &length) != 0)
        return -1;
    if (name.ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&name)->sin_addr, text, sizeof text);
        written = snprintf(address, size, "%s:%u", text, port_of(descriptor));
    } else if (name.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&name)->sin6_addr, text, sizeof text);
        written = snprintf(address, size, "[%s]:%u", text, port_of(descriptor));
    } else if (name.ss_family == AF_UNIX) {
        const char *path = ((const struct sockaddr_un *)&name)->sun_path;
        const int path_length = (int)(length - offsetof(struct sockaddr_un, sun_path));
        const bool is_abstract = path_length > 0 && path[0] == 0;
        written = snprintf(address, size, "unix:%s%.*s", is_abstract ? "@" : "", is_abstract ? path_length - 1 : path_length,
                           is_abstract ? path + 1 : path);
    }
    return written < 0 || (uint32_t)written >= size ? -1 : 0;
}

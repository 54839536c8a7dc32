/*
 * sockets_test.c: an event loop's listener exchanged for another and left alone, the names of sockets, connections, and datagrams, with
 * real sockets and an epoll of its own in the place of Bun's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "process.h"
#include "wrinklefree.h"

#define ERROR_BYTES 256U
/* What an event loop keeps with a socket that it watches. */
#define MARK 0xFEDCBA9876543210U

static char directory[] = "/tmp/wrinklefree-sockets-XXXXXX";

static int need_descriptor(int descriptor) {
    if (descriptor < 0) {
        perror("no descriptor for a test");
        exit(1);
    }
    return descriptor;
}

/* A socket that listens at a free port of an address of this machine; -1 where it has no such addresses. */
static int listen_at(int family, uint16_t *port) {
    struct sockaddr_storage name = {.ss_family = (sa_family_t)family};
    if (family == AF_INET)
        ((struct sockaddr_in *)&name)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        ((struct sockaddr_in6 *)&name)->sin6_addr = in6addr_loopback;
    socklen_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    const int descriptor = socket(family, SOCK_STREAM, 0);
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&name, size) != 0 || listen(descriptor, 8) != 0) {
        if (descriptor >= 0)
            close(descriptor);
        return -1;
    }
    getsockname(descriptor, (struct sockaddr *)&name, &size);
    *port = ntohs(family == AF_INET ? ((struct sockaddr_in *)&name)->sin_port : ((struct sockaddr_in6 *)&name)->sin6_port);
    return descriptor;
}

/* A socket at a path, or with '@' in front at a name that is no file's. */
static int bind_unix(int type, const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, name, strlen(name));
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    const int descriptor = need_descriptor(socket(AF_UNIX, type, 0));
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    if (bind(descriptor, (struct sockaddr *)&address, size) != 0) {
        perror(name);
        exit(1);
    }
    return descriptor;
}

static int connect_to(uint16_t port) {
    const struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int descriptor = need_descriptor(socket(AF_INET, SOCK_STREAM, 0));
    if (connect(descriptor, (const struct sockaddr *)&name, sizeof name) == 0)
        return descriptor;
    close(descriptor);
    return -1;
}

/* Whether an event loop hears of a connection that waits, with what it keeps with that socket. */
static bool hears(int epoll) {
    struct epoll_event event = {0};
    return epoll_wait(epoll, &event, 1, 0) == 1 && event.events == EPOLLIN && event.data.u64 == MARK;
}

/* An event loop that accepts the connections of a socket. */
static int watch(int listener) {
    const int epoll = need_descriptor(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = MARK};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) {
        perror("epoll");
        exit(1);
    }
    return epoll;
}

static void test_listening_sockets_are_found_by_their_port(void) {
    uint16_t port, other_port;
    const int one = need_descriptor(listen_at(AF_INET, &port));
    const int other = need_descriptor(listen_at(AF_INET, &other_port));
    const int same = need_descriptor(dup(one));
    const int client = need_descriptor(connect_to(port));
    const int accepted = need_descriptor(accept(one, NULL, NULL));
    /* A connection's own end has the port as well, and listens to nobody. */
    CHECK(wf_listening_socket(port, -1) == one, "%d", wf_listening_socket(port, -1));
    CHECK(wf_listening_socket(port, one) == same, "%d", wf_listening_socket(port, one));
    CHECK(wf_listening_socket(port, same) == -1, "%d", wf_listening_socket(port, same));
    CHECK(wf_listening_socket(other_port, -1) == other, "%d", wf_listening_socket(other_port, -1));
    const int closed[] = {one, other, same, client, accepted};
    for (uint32_t i = 0; i < sizeof closed / sizeof *closed; i++)
        close(closed[i]);
    CHECK(wf_listening_socket(port, -1) == -1, "a socket that is closed");
}

static void test_an_event_loop_gets_another_listener(void) {
    char error[ERROR_BYTES] = "";
    uint16_t own_port, port;
    const int own = need_descriptor(listen_at(AF_INET, &own_port));
    const int passed = need_descriptor(listen_at(AF_INET, &port));
    const int epoll = watch(own);
    const int early = need_descriptor(connect_to(port)); /* before anybody accepts there */
    CHECK(!hears(epoll), "a connection of another socket");
    CHECK(wf_replace_listener(own, passed, error, sizeof error) == 0, "%s", error);
    CHECK(hears(epoll), "the connection that waited is not heard of");
    const int accepted = accept(own, NULL, NULL);
    CHECK(accepted >= 0, "%s", strerror(errno));
    CHECK(accept(own, NULL, NULL) < 0 && errno == EAGAIN, "an event loop would wait for connections");
    CHECK((fcntl(own, F_GETFD) & FD_CLOEXEC) != 0, "other programs inherit the listener");
    CHECK(connect_to(own_port) < 0, "its own socket still listens");
    /* The socket goes on under its new number alone. */
    close(passed);
    const int late = connect_to(port);
    CHECK(late >= 0 && hears(epoll), "nobody hears of a connection when the other number is closed");

    /* Left alone, it listens on: connections wait for whoever else has the socket. */
    const int heir = need_descriptor(dup(own));
    CHECK(wf_leave_listener(own, error, sizeof error) == 0, "%s", error);
    CHECK(!hears(epoll), "a listener that was left alone is watched");
    const int waiting = connect_to(port);
    const int first = accept(heir, NULL, NULL), second = accept(heir, NULL, NULL);
    CHECK(waiting >= 0 && first >= 0 && second >= 0, "connections are lost");
    CHECK(wf_leave_listener(own, error, sizeof error) != 0 && check_is_line(error, sizeof error), "it is left twice");
    const int closed[] = {own, epoll, early, accepted, late, heir, waiting, first, second};
    for (uint32_t i = 0; i < sizeof closed / sizeof *closed; i++)
        close(closed[i]);
}

static void test_what_is_no_listener_is_refused(void) {
    char error[ERROR_BYTES] = "";
    uint16_t port;
    const int listener = need_descriptor(listen_at(AF_INET, &port));
    const int epoll = watch(listener);
    int pipe_ends[2];
    if (pipe(pipe_ends) != 0)
        exit(1);
    const int silent = need_descriptor(socket(AF_INET, SOCK_STREAM, 0));
    const int others[] = {-1, pipe_ends[0], silent, 1 << 20};
    for (uint32_t i = 0; i < sizeof others / sizeof *others; i++) {
        error[0] = '\0';
        CHECK(wf_replace_listener(listener, others[i], error, sizeof error) != 0, "%d", others[i]);
        CHECK(check_is_line(error, sizeof error), "no message for %d", others[i]);
        error[0] = '\0';
        CHECK(wf_replace_listener(others[i], listener, error, sizeof error) != 0, "%d", others[i]);
        CHECK(check_is_line(error, sizeof error), "no message for %d", others[i]);
    }
    CHECK(wf_replace_listener(listener, listener, error, sizeof error) != 0, "a socket in its own place");
    /* The listener has stayed what it was. */
    const int client = connect_to(port);
    CHECK(client >= 0 && hears(epoll), "the listener is lost");
    const int closed[] = {listener, epoll, pipe_ends[0], pipe_ends[1], silent, client};
    for (uint32_t i = 0; i < sizeof closed / sizeof *closed; i++)
        close(closed[i]);
}

/* The port of a connection's own end. */
static uint32_t own_port(int connection) {
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    return getsockname(connection, (struct sockaddr *)&name, &size) == 0 ? ntohs(name.sin_port) : 0;
}

static void test_connections_that_came_in(void) {
    uint16_t port, other_port;
    const int listener = need_descriptor(listen_at(AF_INET, &port));
    const int other = need_descriptor(listen_at(AF_INET, &other_port));
    const int client = need_descriptor(connect_to(port));
    const int accepted = need_descriptor(accept(listener, NULL, NULL));
    CHECK(wf_quiet_peer(accepted, port) == own_port(client), "%u and not %u", wf_quiet_peer(accepted, port), own_port(client));
    /* Neither one that goes out, nor one of another server, nor what is no connection. */
    CHECK(wf_quiet_peer(client, port) == 0, "the client's own end");
    CHECK(wf_quiet_peer(accepted, other_port) == 0, "a connection of another port");
    CHECK(wf_quiet_peer(listener, port) == 0, "a listener");
    const int none[] = {-1, 0, 1 << 20};
    for (uint32_t i = 0; i < sizeof none / sizeof *none; i++)
        CHECK(wf_quiet_peer(none[i], port) == 0, "%d", none[i]);
    /* What the client does not take is still to be sent. */
    char bytes[65536] = "";
    while (send(accepted, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
    CHECK(wf_quiet_peer(accepted, port) == 0, "a connection with bytes to send");
    close(client);
    close(accepted);

    const int another = need_descriptor(connect_to(port));
    const int ended = need_descriptor(accept(listener, NULL, NULL));
    wf_end_connection(ended);
    CHECK(recv(another, bytes, sizeof bytes, 0) == 0, "the client does not hear of the end");
    CHECK(recv(ended, bytes, sizeof bytes, 0) == 0, "whoever has the descriptor does not hear of the end");
    wf_end_connection(-1);
    const int closed[] = {listener, other, another, ended};
    for (uint32_t i = 0; i < sizeof closed / sizeof *closed; i++)
        close(closed[i]);
}

/* Checks the address of a socket, and that no room is written beyond that there is. */
static void check_address(int descriptor, const char *expected) {
    char address[256];
    memset(address, '#', sizeof address);
    const uint32_t size = (uint32_t)strlen(expected) + 1;
    CHECK(wf_listening_address(descriptor, address, size) == 0 && strcmp(address, expected) == 0, "'%.*s' and not '%s'", (int)size,
          address, expected);
    CHECK(address[size] == '#', "more is written than there is room for");
    for (uint32_t room = 0; room < size; room++) {
        memset(address, '#', sizeof address);
        CHECK(wf_listening_address(descriptor, address, room) != 0, "'%s' in %u bytes", expected, room);
        CHECK(address[room] == '#', "more is written than there is room for");
    }
}

static void test_addresses(void) {
    char expected[256], path[sizeof directory + 16];
    uint16_t port;
    const int four = need_descriptor(listen_at(AF_INET, &port));
    (void)snprintf(expected, sizeof expected, "127.0.0.1:%u", port);
    check_address(four, expected);
    close(four);
    const int six = listen_at(AF_INET6, &port);
    (void)snprintf(expected, sizeof expected, "[::1]:%u", port);
    if (six >= 0)
        check_address(six, expected);
    else
        printf("skipping IPv6: this machine has no address of it\n");
    close(six);

    (void)snprintf(path, sizeof path, "%s/socket", directory);
    const int at_path = bind_unix(SOCK_STREAM, path);
    char address[256];
    CHECK(wf_listening_address(at_path, address, sizeof address) != 0, "a socket that does not listen");
    listen(at_path, 1);
    (void)snprintf(expected, sizeof expected, "unix:%s", path);
    check_address(at_path, expected);
    close(at_path);
    unlink(path);

    (void)snprintf(path, sizeof path, "@wrinklefree-%d", (int)getpid());
    const int abstract = bind_unix(SOCK_STREAM, path);
    listen(abstract, 1);
    (void)snprintf(expected, sizeof expected, "unix:%s", path);
    check_address(abstract, expected);
    close(abstract);

    /* One that takes messages listens as well, and is no socket for HTTP. */
    (void)snprintf(path, sizeof path, "@wrinklefree-%d-messages", (int)getpid());
    const int messages = bind_unix(SOCK_SEQPACKET, path);
    listen(messages, 1);
    CHECK(wf_listening_address(messages, address, sizeof address) != 0, "a socket of messages");
    close(messages);
    CHECK(wf_listening_address(-1, address, sizeof address) != 0, "no descriptor");
    CHECK(wf_listening_address(0, address, sizeof address) != 0, "no socket");
}

/* Sends to a socket of that name and checks what comes. */
static void check_datagram(const char *name) {
    char error[ERROR_BYTES] = "", received[64] = "";
    const int receiver = bind_unix(SOCK_DGRAM, name);
    static const char text[] = "READY=1";
    CHECK(wf_send_datagram(name, (const uint8_t *)text, sizeof text - 1, error, sizeof error) == 0, "%s", error);
    const ssize_t size = recv(receiver, received, sizeof received - 1, MSG_DONTWAIT);
    CHECK(size == sizeof text - 1 && strcmp(received, text) == 0, "'%s'", received);
    /* Nobody reads: it fails when there is no more room, and does not wait. */
    uint32_t count = 0;
    while (count < 100000 && wf_send_datagram(name, (const uint8_t *)text, sizeof text - 1, error, sizeof error) == 0)
        count++;
    CHECK(count > 0 && count < 100000 && check_is_line(error, sizeof error), "%u datagrams", count);
    close(receiver);
    error[0] = '\0';
    CHECK(wf_send_datagram(name, (const uint8_t *)text, 1, error, sizeof error) != 0, "nobody is there");
    CHECK(check_is_line(error, sizeof error), "no message");
}

static void test_datagrams(void) {
    char path[sizeof directory + 16];
    (void)snprintf(path, sizeof path, "%s/notify", directory);
    check_datagram(path);
    unlink(path);
    (void)snprintf(path, sizeof path, "@wrinklefree-%d-notify", (int)getpid());
    check_datagram(path);
    char error[ERROR_BYTES] = "", name[256];
    memset(name, 'x', sizeof name);
    const uint32_t lengths[] = {0, sizeof((struct sockaddr_un *)0)->sun_path, sizeof name - 1};
    for (uint32_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char text[sizeof name];
        memcpy(text, name, sizeof text);
        text[lengths[i]] = '\0';
        error[0] = '\0';
        CHECK(wf_send_datagram(text, NULL, 0, error, sizeof error) != 0, "a name of %u bytes", lengths[i]);
        CHECK(check_is_line(error, sizeof error), "no message");
    }
}

int main(void) {
    if (mkdtemp(directory) == NULL) {
        perror(directory);
        return 1;
    }
    const uint32_t files = process_files();
    test_listening_sockets_are_found_by_their_port();
    test_an_event_loop_gets_another_listener();
    test_what_is_no_listener_is_refused();
    test_connections_that_came_in();
    test_addresses();
    test_datagrams();
    CHECK(process_files() == files, "%u files are open, %u were", process_files(), files);
    rmdir(directory);
    return check_report();
}

/*
 * mapped_files.c: the handler of SIGBUS and what it looks at.
 *
 * The handler may run on any thread, at any time, on a stack of a few kilobytes: it reads a list that only grows, writes a line that is
 * there already, and takes no lock and no memory. So entries are never freed; a forgotten one is used again for the next file.
 */
#include "base/mapped_files.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

/* The longest path that a system opens, and the words around it. */
#define LINE_BYTES (4096 + 256)

struct wf_mapped_file {
    wf_mapped_file *next;
    atomic_uintptr_t start; /* 0: of no file now */
    atomic_size_t size;
    size_t length; /* of the line */
    char line[LINE_BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of those who note and forget */
static _Atomic(wf_mapped_file *) first;
static struct sigaction before;
static atomic_flag is_ending = ATOMIC_FLAG_INIT;

/* The file that an address is of, or NULL. */
static const wf_mapped_file *file_at(uintptr_t address) {
    for (const wf_mapped_file *file = atomic_load(&first); file != NULL; file = file->next) {
        const uintptr_t start = atomic_load(&file->start);
        if (start != 0 && address >= start && address - start < atomic_load(&file->size))
            return file;
    }
    return NULL;
}

static void end_with(const wf_mapped_file *file) {
    /* Several threads may come here at once; one of them speaks. */
    while (atomic_flag_test_and_set(&is_ending))
        pause();
    for (size_t written = 0; written < file->length;) {
        const ssize_t count = write(STDERR_FILENO, file->line + written, file->length - written);
        if (count < 0 && errno != EINTR)
            break;
        written += count > 0 ? (size_t)count : 0;
    }
    _exit(1);
}

static void on_bus_error(int number, siginfo_t *info, void *context) {
    const bool is_fault = info->si_code > 0; /* not sent by somebody */
    const wf_mapped_file *file = is_fault ? file_at((uintptr_t)info->si_addr) : NULL;
    if (file != NULL)
        end_with(file);
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(number);
    } else if (is_fault || before.sa_handler == SIG_DFL) {
        /* It waits until this handler returns, and then does what it does without one. */
        signal(number, SIG_DFL);
        raise(number);
    }
}

static void install(void) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGBUS, NULL, &before);
    action.sa_mask = before.sa_mask;
    sigaction(SIGBUS, &action, NULL);
}

wf_mapped_file *wf_mapped_file_note(const void *start, size_t size, const char *path) {
    static pthread_once_t installed = PTHREAD_ONCE_INIT;
    pthread_once(&installed, install);
    pthread_mutex_lock(&lock);
    wf_mapped_file *file = atomic_load(&first);
    while (file != NULL && atomic_load(&file->start) != 0)
        file = file->next;
    const bool is_fresh = file == NULL;
    if (is_fresh)
        file = calloc(1, sizeof *file);
    if (file != NULL) {
        wf_fail(
            file->line, LINE_BYTES - 1,
            "wrinklefree: %s: can't be read any more: it was cut short while it was in use, or its disk failed; start again with a "
            "whole file, and replace files of models by moving new ones to their names",
            path);
        file->length = strlen(file->line);
        file->line[file->length++] = '\n';
        atomic_store(&file->size, size);
        atomic_store(&file->start, (uintptr_t)start);
        if (is_fresh) {
            file->next = atomic_load(&first);
            atomic_store(&first, file);
        }
    }
    pthread_mutex_unlock(&lock);
    return file;
}

void wf_mapped_file_forget(wf_mapped_file *file) {
    if (file != NULL)
        atomic_store(&file->start, 0);
}

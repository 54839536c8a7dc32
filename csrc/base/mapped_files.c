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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

/* The longest path that a system opens, and the words around it. */
#define LINE_BYTES (4096 + 256)

/* What is said at the end. */
struct last_words {
    size_t length;
    char line[LINE_BYTES];
};

struct wf_mapped_file {
    wf_mapped_file *next;
    atomic_uintptr_t start; /* 0: of no file now */
    atomic_size_t size;
    int descriptor;
    struct timespec written; /* when its contents changed the last time */
    struct last_words cut, changed;
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

static void end_with(const struct last_words *words) {
    /* Several threads may come here at once; one of them speaks. */
    while (atomic_flag_test_and_set(&is_ending))
        pause();
    for (size_t written = 0; written < words->length;) {
        const ssize_t count = write(STDERR_FILENO, words->line + written, words->length - written);
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
        end_with(&file->cut);
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

static void prepare(struct last_words *words, const char *path, const char *what) {
    wf_fail(words->line, LINE_BYTES - 1, "wrinklefree: %s: %s, and replace files of models by moving new ones to their names", path,
            what);
    words->length = strlen(words->line);
    words->line[words->length++] = '\n';
}

wf_mapped_file *wf_mapped_file_note(const void *start, size_t size, const char *path, int descriptor) {
    struct stat status;
    if (fstat(descriptor, &status) != 0)
        return NULL;
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
        prepare(&file->cut, path,
                "can't be read any more: it was cut short while it was in use, or its disk failed; start again with a whole file");
        prepare(&file->changed, path, "was written to while it was in use, so that answers may be wrong; start again");
        file->descriptor = descriptor;
        file->written = status.st_mtim;
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

void wf_mapped_file_check(const wf_mapped_file *file) {
    struct stat status;
    /* Where the system does not tell, reading will. */
    if (file == NULL || fstat(file->descriptor, &status) != 0)
        return;
    if ((uint64_t)status.st_size < (uint64_t)atomic_load(&file->size))
        end_with(&file->cut);
    if (status.st_mtim.tv_sec != file->written.tv_sec || status.st_mtim.tv_nsec != file->written.tv_nsec)
        end_with(&file->changed);
}

void wf_mapped_file_forget(wf_mapped_file *file) {
    if (file == NULL)
        return;
    close(file->descriptor);
    atomic_store(&file->start, 0);
}

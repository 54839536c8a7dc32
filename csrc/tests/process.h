/*
 * process.h: what this process has open, for the tests that nothing is left behind.
 */
#ifndef WF_PROCESS_H
#define WF_PROCESS_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>

/* The entries of a directory; 0 when it can't be read. */
static inline uint32_t process_entries(const char *path) {
    DIR *directory = opendir(path);
    uint32_t count = 0;
    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        closedir(directory);
    return count;
}

/* File descriptors of this process, and a fixed number of entries beside them. */
static inline uint32_t process_files(void) { return process_entries("/proc/self/fd"); }

/* Threads of this process, and a fixed number of entries beside them. A joined thread's entry may linger for a moment. */
static inline uint32_t process_threads(void) { return process_entries("/proc/self/task"); }

#endif

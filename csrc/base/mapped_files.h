/*
 * mapped_files.h: which addresses are those of mapped files. Whoever reads there after the file was cut short gets SIGBUS, which would
 * otherwise end the program without a word that anyone understands. Whoever reads there after the file was written to finds other bytes,
 * and nothing tells.
 *
 * This is the one place where the library ends the program: a line on stderr names the file, and the exit code is 1. A SIGBUS that has
 * another cause is left to the handler that was there before.
 */
#ifndef WF_MAPPED_FILES_H
#define WF_MAPPED_FILES_H

#include <stddef.h>

typedef struct wf_mapped_file wf_mapped_file;

/* Notes that an open file is mapped to start[size], and keeps its descriptor. The first time it installs the handler. NULL when memory is
 * lacking; then the descriptor is still the caller's. */
wf_mapped_file *wf_mapped_file_note(const void *start, size_t size, const char *path, int descriptor);

/* Ends the program if the file was written to since then: what was read from it may be of no use. A write shows before its bytes do, so
 * what was computed before a check that passes is right. NULL is allowed. */
void wf_mapped_file_check(const wf_mapped_file *file);

/* Forgets it, before it is unmapped. NULL is allowed. */
void wf_mapped_file_forget(wf_mapped_file *file);

#endif

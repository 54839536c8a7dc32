/*
 * mapping.h: the bytes of a packed model in memory: a file that is mapped, or a copy.
 */
#ifndef WF_MAPPING_H
#define WF_MAPPING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mapped_files.h"

typedef struct wf_mapping {
    uint8_t *bytes; /* [size], page-aligned */
    uint64_t size;
    wf_mapped_file *file; /* that is mapped; NULL: memory */
} wf_mapping;

/* Maps the regular file at `path`, read-only. Returns 0, or -1 with `error`. */
int wf_mapping_of_file(wf_mapping *mapping, const char *path, char *error, uint32_t error_size);

/* Maps `size` bytes of zeros to be written. The end of a mapping gives a model in memory the same alignment and protection as a file's.
 * `name` stands for the path in messages. Returns 0, or -1 with `error`. */
int wf_mapping_of_zeros(wf_mapping *mapping, uint64_t size, const char *name, char *error, uint32_t error_size);

/* Lets nobody write any more. False, with errno, when the system refuses. */
bool wf_mapping_protect(const wf_mapping *mapping);

/* How far the reading of a file is, in bytes; another thread may look. All zero until it begins. */
typedef struct wf_reading {
    atomic_uint_least64_t done, total;
} wf_reading;

/* Brings in all of a file from `start` on. Advice. */
void wf_mapping_prefault(const wf_mapping *mapping, const void *start, wf_reading *reading);

/* Gives back the memory that a part of a mapped file takes; who reads there again finds it in the file. What lives in memory keeps
 * it. */
void wf_mapping_release(const wf_mapping *mapping, const void *start, uint64_t bytes);

/* What was never mapped, and is all zero, is allowed. */
void wf_mapping_close(wf_mapping *mapping);

#endif

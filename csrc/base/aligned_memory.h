/*
 * aligned_memory.h: memory for vectors.
 */
#ifndef WF_ALIGNED_MEMORY_H
#define WF_ALIGNED_MEMORY_H

#include <stdlib.h>

/* Bytes of a cache line. */
#define WF_CACHE_LINE 64U

/* What vectors are best aligned to: a cache line, and the widest of them. */
#define WF_VECTOR_ALIGNMENT WF_CACHE_LINE

/* `count` elements of `size` bytes at an aligned address, with undefined contents, at least one line. To be freed with free(); NULL when
 * memory is lacking. */
static inline void *wf_allocate(size_t count, size_t size) {
    const size_t bytes = (count * size + WF_VECTOR_ALIGNMENT - 1) / WF_VECTOR_ALIGNMENT * WF_VECTOR_ALIGNMENT;
    return aligned_alloc(WF_VECTOR_ALIGNMENT, bytes > 0 ? bytes : WF_VECTOR_ALIGNMENT);
}

#endif

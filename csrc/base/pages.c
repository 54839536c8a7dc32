/*
 * pages.c: anonymous mappings.
 */
#include "base/pages.h"

#include <sys/mman.h>

static void *map(size_t bytes, int flags) {
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void *wf_map_huge_pages(size_t bytes) {
    void *pages = map(bytes, 0);
    if (pages != NULL)
        wf_advise_huge_pages(pages, bytes);
    return pages;
}

void *wf_map_pages(size_t bytes) { return map(bytes, 0); }

void *wf_reserve_pages(size_t bytes) { return map(bytes, MAP_NORESERVE); }

void wf_unmap_pages(void *pages, size_t bytes) {
    if (pages != NULL)
        munmap(pages, bytes);
}

void wf_advise_huge_pages(void *start, size_t bytes) {
#if defined(MADV_HUGEPAGE)
    (void)madvise(start, bytes, MADV_HUGEPAGE);
#else
    (void)start;
    (void)bytes;
#endif
}

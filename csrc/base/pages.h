/*
 * pages.h: memory in whole pages, straight from the system: zeros that take no memory until they are written.
 */
#ifndef WF_PAGES_H
#define WF_PAGES_H

#include <stddef.h>

/* `bytes` of zeros, which the system may keep in huge pages: for what is read or written in one go. NULL when memory is lacking. */
void *wf_map_huge_pages(size_t bytes);

/* The same in pages of the usual size. */
void *wf_map_pages(size_t bytes);

/* As many as the address space holds, whatever memory there is: for what may never be written in full. */
void *wf_reserve_pages(size_t bytes);

/* Gives them back. NULL is allowed. */
void wf_unmap_pages(void *pages, size_t bytes);

/* Has the system keep what is mapped there in huge pages where it can. Advice: without them all works, more slowly. */
void wf_advise_huge_pages(void *start, size_t bytes);

#endif

/*
 * mapping.c: maps files at addresses that suit huge pages.
 */
#include "model/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/pages.h"

/* Opens the file at `path` for reading and puts its size into *size. Returns the descriptor, or -1 with the error
 * written. */
static int open_file(const char *path, uint64_t *size, char *error, uint32_t error_size) {
    /* Without O_NONBLOCK the opening of a pipe would wait for a writer. */
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return wf_fail(error, error_size, "%s: can't be opened: %s", path, strerror(errno));
    struct stat status;
    if (fstat(file, &status) != 0) {
        wf_fail(error, error_size, "%s: can't be examined: %s", path, strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        wf_fail(error, error_size, "%s: is no regular file%s", path,
                S_ISDIR(status.st_mode) ? " but a directory; a packed model is one file, made with `wrinklefree convert`" : "");
    } else if (status.st_size == 0) {
        wf_fail(error, error_size, "%s: is no packed model: it is empty", path);
    } else if ((uint64_t)status.st_size > SIZE_MAX) {
        wf_fail(error, error_size, "%s: is too large for this machine's address space", path);
    } else {
        *size = (uint64_t)status.st_size;
        return file;
    }
    close(file);
    return -1;
}

/* The size of a huge page, and what the system wants a mapping to be aligned to for them. */
#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)

/* Maps a file of `size` bytes read-only. With huge pages weights are read a third faster: a token touches every page, and there are 300
 * thousand small ones in a gigabyte. Systems that keep files in huge pages map them so where address and offset agree, hence the
 * alignment. MAP_FAILED with errno. */
static void *map_file(int file, uint64_t size) {
    /* Room for an aligned start; what is left over is given back. */
    const uint64_t room = size + HUGE_PAGE_BYTES;
    uint8_t *reserved = mmap(NULL, (size_t)room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return MAP_FAILED;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t before = (HUGE_PAGE_BYTES - (uintptr_t)reserved % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    const uint64_t end = before + (size + page - 1) / page * page;
    if (before > 0)
        munmap(reserved, (size_t)before);
    if (end < room)
        munmap(reserved + end, (size_t)(room - end));
    void *mapping = mmap(reserved + before, (size_t)size, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0);
    if (mapping == MAP_FAILED) {
        const int reason = errno;
        munmap(reserved + before, (size_t)(end - before));
        errno = reason;
        return MAP_FAILED;
    }
    wf_advise_huge_pages(mapping, (size_t)size);
    return mapping;
}

int wf_mapping_of_file(wf_mapping *mapping, const char *path, char *error, uint32_t error_size) {
    uint64_t size = 0;
    const int file = open_file(path, &size, error, error_size);
    if (file < 0)
        return -1;
    void *bytes = map_file(file, size);
    if (bytes == MAP_FAILED) {
        wf_fail(error, error_size, "%s: its %" PRIu64 " bytes can't be mapped: %s", path, size, strerror(errno));
        close(file);
        return -1;
    }
    *mapping = (wf_mapping){bytes, size, wf_mapped_file_note(bytes, (size_t)size, path, file)};
    if (mapping->file != NULL)
        return 0;
    close(file);
    wf_mapping_close(mapping);
    return wf_fail(error, error_size, "%s: no memory left to open it", path);
}

int wf_mapping_of_zeros(wf_mapping *mapping, uint64_t size, const char *name, char *error, uint32_t error_size) {
    *mapping = (wf_mapping){.bytes = size <= SIZE_MAX ? wf_map_pages((size_t)size) : NULL, .size = size};
    if (mapping->bytes != NULL)
        return 0;
    return wf_fail(error, error_size, "%s: no memory left for its %" PRIu64 " bytes", name, size);
}

bool wf_mapping_protect(const wf_mapping *mapping) { return mprotect(mapping->bytes, (size_t)mapping->size, PROT_READ) == 0; }

/* Bytes that are brought in at a time: a tenth of a second, where disks are slow. */
#define READ_TOGETHER (UINT64_C(16) << 20)

void wf_mapping_prefault(const wf_mapping *mapping, const void *start, wf_reading *reading) {
#if defined(MADV_POPULATE_READ)
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t first = (uint64_t)((const uint8_t *)start - mapping->bytes) / page * page;
    const uint64_t total = mapping->size - first;
    atomic_store(&reading->total, total);
    for (uint64_t done = 0; done < total; atomic_store(&reading->done, done)) {
        const uint64_t count = total - done < READ_TOGETHER ? total - done : READ_TOGETHER;
        if (madvise(mapping->bytes + first + done, (size_t)count, MADV_POPULATE_READ) != 0) {
            atomic_store(&reading->done, 0);
            atomic_store(&reading->total, 0);
            return;
        }
        done += count;
    }
#else
    (void)mapping;
    (void)start;
    (void)reading;
#endif
}

void wf_mapping_release(const wf_mapping *mapping, const void *start, uint64_t bytes) {
    if (mapping->file == NULL)
        return;
    /* Whole pages: the one that the next part begins in goes with that. */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = (uintptr_t)start / page * page, end = ((uintptr_t)start + (uintptr_t)bytes) / page * page;
    if (end > first)
        (void)madvise((void *)first, end - first, MADV_DONTNEED); /* advice */
}

void wf_mapping_close(wf_mapping *mapping) {
    wf_mapped_file_forget(mapping->file);
    wf_unmap_pages(mapping->bytes, (size_t)mapping->size);
    *mapping = (wf_mapping){0};
}

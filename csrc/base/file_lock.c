/*
 * file_lock.c: locks between processes, which the system takes back from whoever dies.
 */
#include <errno.h>
#include <sys/file.h>

#include "wrinklefree.h"

int32_t wf_file_lock(int32_t descriptor, uint32_t is_shared) {
    int result;
    do
        result = flock(descriptor, (is_shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
    while (result != 0 && errno == EINTR);
    return result != 0 && errno == EWOULDBLOCK ? 0 : 1;
}

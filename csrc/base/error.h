/*
 * error.h: the one way in which the library says what went wrong.
 *
 * The library never prints; each function that can fail is given the caller's buffer and leaves one line there. File
 * names and tensor names in such a line come from strangers, so control characters are replaced: a message can't break
 * a log or a terminal.
 */
#ifndef WF_ERROR_H
#define WF_ERROR_H

#include <stdint.h>

/* Writes a message, cut to `size` bytes with its terminator (a cut never splits a UTF-8 character), with every control
 * character replaced by '?'. `error` may be NULL and `size` 0: nothing is written then. Always returns -1, so that a
 * caller can write `return wf_fail(error, size, "…")`. `error` must not be among the arguments. */
int wf_fail(char *error, uint32_t size, const char *format, ...) __attribute__((format(printf, 3, 4), cold));

#endif

/*
 * error.c: writes one-line messages; see error.h for the reason that it is a function of its own.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Takes off the last character when the cut at the buffer's end left only a part of it. */
static void drop_split_character(char *text, size_t length) {
    size_t start = length;
    while (start > 0 && length - start < 4) {
        start--;
        const unsigned char byte = (unsigned char)text[start];
        if ((byte & 0xC0U) == 0x80U)
            continue; /* a continuation byte: its lead byte is further left */
        const size_t needed = byte >= 0xF0U ? 4 : byte >= 0xE0U ? 3 : byte >= 0xC0U ? 2 : 1;
        if (length - start < needed)
            text[start] = '\0';
        return;
    }
}

int wf_fail(char *error, uint32_t size, const char *format, ...) {
    if (error == NULL || size == 0)
        return -1;
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(error, size, format, arguments);
    va_end(arguments);
    if (length < 0) {
        error[0] = '\0';
        return -1;
    }
    if ((unsigned int)length >= size)
        drop_split_character(error, size - 1U);
    for (char *at = error; *at != '\0'; at++) {
        const unsigned char byte = (unsigned char)*at;
        if (byte < 0x20U || byte == 0x7FU) {
            *at = '?';
        } else if (byte == 0xC2U && ((unsigned char)at[1] & 0xE0U) == 0x80U) {
            /* U+0080 to U+009F: control characters too, to terminals among others */
            at[0] = '?';
            at[1] = '?';
        }
    }
    return -1;
}

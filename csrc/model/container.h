/*
 * container.h: what a packed file (.wf) says of itself: its tensors, and the text of its configuration.
 *
 * A packed file is a safetensors file whose tensors are used where they lie. Nothing in here knows what a tensor means: another form of
 * container has to fill the same struct.
 */
#ifndef WF_CONTAINER_H
#define WF_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "model/mapping.h"
#include "wrinklefree.h"

/* Characters of a stranger's string that a message shows. */
#define WF_SHOWN_BYTES 80U

/* How much of a string a message shows, as the precision of a %.*s. */
static inline int wf_shown(uint32_t length) { return (int)(length < WF_SHOWN_BYTES ? length : WF_SHOWN_BYTES); }

enum wf_data_type {
    WF_TYPE_U8,
    WF_TYPE_BF16,
    WF_TYPE_F32,
};

/* One entry of the header, checked in itself. */
typedef struct wf_tensor {
    const char *name; /* [name_length], in the header */
    uint32_t name_length;
    bool used; /* the configuration called for it */
    enum wf_data_type type;
    uint32_t dimensions; /* 1 or 2 */
    uint64_t shape[2];
    uint64_t begin; /* bytes from the end of the header */
    uint64_t size;
} wf_tensor;

/* A file that is being opened. */
typedef struct wf_container {
    const char *name; /* of the file, for messages */
    const wf_mapping *mapping;
    char *error; /* [error_size] the caller's */
    uint32_t error_size;

    struct json_document header;
    const struct json_node *config; /* its text, a string */
    uint64_t data_start;            /* where the header ends and the tensors begin */
    wf_tensor *tensors;             /* [tensor_count], in the order of their names */
    uint32_t tensor_count;
} wf_container;

/* Writes "<file>: <fault>" into the caller's buffer and returns -1. */
__attribute__((format(printf, 2, 3), cold)) int wf_container_fail(const wf_container *container, const char *format, ...);

/* Reads the header of a container that has a name, a mapping and an error buffer. Checks that it is whole, ours and of a version that this
 * library reads. Returns 0, or -1 with the error written; wf_container_close is due in any case. */
int wf_container_read_header(wf_container *container);

/* Reads all tensors; they must fill the file from the header's end to its own. Returns 0, or -1 with the error written. */
int wf_container_read_tensors(wf_container *container);

/* Finds the tensor that the configuration calls for. `columns` is 0 for one of one dimension. Returns its bytes, or
 * NULL with the error written. */
uint8_t *wf_container_take(wf_container *container, const char *name, enum wf_data_type type, uint64_t rows, uint64_t columns);

/* Refuses what was not taken, all but the assets, which only TypeScript reads. Returns 0, or -1 with the error written. */
int wf_container_refuse_rest(const wf_container *container);

void wf_container_close(wf_container *container);

#endif

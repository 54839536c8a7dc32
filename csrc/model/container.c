/*
 * container.c: reads the header of a packed file.
 *
 * Everything that later code takes for granted of the file is checked here once: that the header is whole, and that every tensor lies
 * inside the file at its alignment.
 */
#include "model/container.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed files are little-endian and used in place");

/* The first bytes of a file hold the length of its header. */
#define LENGTH_BYTES 8U

/* safetensors' own limit, 100 MB. */
#define MAX_HEADER_BYTES 100000000U

/* Values and keys in a header: a model of WF_LAYERS_MAX layers has about 220 000. */
#define MAX_HEADER_VALUES 1000000U

/* Room for a shape in a message. */
#define SHAPE_BYTES 64U

static const char *const type_names[] = {[WF_TYPE_U8] = "U8", [WF_TYPE_BF16] = "BF16", [WF_TYPE_F32] = "F32"};
static const uint64_t type_bytes[] = {[WF_TYPE_U8] = 1, [WF_TYPE_BF16] = 2, [WF_TYPE_F32] = 4};

int wf_container_fail(const wf_container *container, const char *format, ...) {
    char fault[512];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(fault, sizeof fault, format, arguments) < 0)
        fault[0] = '\0';
    va_end(arguments);
    return wf_fail(container->error, container->error_size, "%s: %s", container->name, fault);
}

/* ---- The header ---- */

/* Reads the header's length and text. */
static int read_header(wf_container *container) {
    const wf_mapping *mapping = container->mapping;
    if (mapping->size < LENGTH_BYTES) {
        return wf_container_fail(container, "is no packed model: it has %" PRIu64 " bytes, and a header's length alone takes %u",
                                 mapping->size, LENGTH_BYTES);
    }
    uint64_t length;
    memcpy(&length, mapping->bytes, sizeof length);
    if (length > MAX_HEADER_BYTES) {
        return wf_container_fail(container,
                                 "is no packed model (.wf): its first 8 bytes would mean a header of %" PRIu64
                                 " bytes, over the limit of %u; make one with `wrinklefree convert`",
                                 length, MAX_HEADER_BYTES);
    }
    if (length > mapping->size - LENGTH_BYTES) {
        return wf_container_fail(container,
                                 "is truncated: its header ends at byte %" PRIu64 ", the file has %" PRIu64
                                 " bytes; copy or convert it again",
                                 length + LENGTH_BYTES, mapping->size);
    }
    container->data_start = LENGTH_BYTES + length;
    char detail[256];
    const char *text = (const char *)mapping->bytes + LENGTH_BYTES;
    if (json_parse(text, (size_t)length, MAX_HEADER_VALUES, &container->header, detail, sizeof detail) != 0)
        return wf_container_fail(container, "its header is not valid JSON: %s", detail);
    if (container->header.nodes[0].kind != JSON_OBJECT)
        return wf_container_fail(container, "its header is no JSON object");
    return 0;
}

/* Checks that the file is ours and of a version that this library reads, and finds the configuration's text. */
static int read_metadata(wf_container *container) {
    const struct json_document *header = &container->header;
    const struct json_node *metadata = json_member(header, 0, "__metadata__");
    const struct json_node *format = NULL;
    uint32_t index = 0;
    if (metadata != NULL && metadata->kind == JSON_OBJECT) {
        index = (uint32_t)(metadata - header->nodes);
        format = json_member(header, index, "format");
    }
    if (format == NULL || !json_is_string(format, "wrinklefree")) {
        return wf_container_fail(container,
                                 "is a safetensors file but no packed model (its __metadata__ has no format \"wrinklefree\"); "
                                 "make one with `wrinklefree convert`");
    }
    const struct json_node *version = json_member(header, index, "version");
    if (version == NULL || version->kind != JSON_STRING)
        return wf_container_fail(container, "its __metadata__ has no version");
    uint64_t number = 0;
    bool valid = version->length > 0 && version->length <= 9 && version->as.string[0] != '0';
    for (uint32_t i = 0; valid && i < version->length; i++) {
        const char digit = version->as.string[i];
        valid = digit >= '0' && digit <= '9';
        number = number * 10 + (uint64_t)(digit - '0');
    }
    if (!valid) {
        return wf_container_fail(container, "its format version \"%.*s\" is invalid", wf_shown(version->length),
                                 version->as.string);
    }
    if (number > WF_FORMAT_VERSION) {
        return wf_container_fail(container, "made by a newer version of wrinklefree: version %" PRIu64 ", this one reads %d",
                                 number, WF_FORMAT_VERSION);
    }
    if (number < WF_FORMAT_VERSION) {
        return wf_container_fail(container,
                                 "made by an older version of wrinklefree: version %" PRIu64 ", this one reads %d; "
                                 "convert the model's source again",
                                 number, WF_FORMAT_VERSION);
    }
    const struct json_node *config = json_member(header, index, "config");
    if (config == NULL || config->kind != JSON_STRING)
        return wf_container_fail(container, "its __metadata__ has no config");
    container->config = config;
    return 0;
}

int wf_container_read_header(wf_container *container) {
    return read_header(container) != 0 || read_metadata(container) != 0 ? -1 : 0;
}

/* ---- The tensors ---- */

/* Reads the dtype of an entry. */
static int read_type(const wf_container *container, const struct json_node *node, wf_tensor *tensor) {
    if (node != NULL) {
        for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++) {
            if (json_is_string(node, type_names[i])) {
                tensor->type = (enum wf_data_type)i;
                return 0;
            }
        }
    }
    return wf_container_fail(container, "tensor %.*s: its dtype must be U8, BF16 or F32", wf_shown(tensor->name_length),
                             tensor->name);
}

/* Reads the shape of an entry and computes its size. */
static int read_shape(const wf_container *container, const struct json_node *node, wf_tensor *tensor) {
    bool valid = node != NULL && node->kind == JSON_ARRAY && node->length >= 1 && node->length <= 2;
    for (uint32_t i = 0; valid && i < node->length; i++)
        valid = json_unsigned(node + 1 + i, UINT64_MAX, &tensor->shape[i]);
    if (!valid) {
        return wf_container_fail(container, "tensor %.*s: its shape must be an array of one or two integers",
                                 wf_shown(tensor->name_length), tensor->name);
    }
    tensor->dimensions = node->length;
    uint64_t size = type_bytes[tensor->type];
    for (uint32_t i = 0; i < tensor->dimensions; i++)
        if (__builtin_mul_overflow(size, tensor->shape[i], &size))
            return wf_container_fail(container, "tensor %.*s: its shape is too large", wf_shown(tensor->name_length), tensor->name);
    tensor->size = size;
    return 0;
}

/* Reads where an entry lies. It must begin where the one before it ended. */
static int read_offsets(const wf_container *container, const struct json_node *node, uint64_t expected, wf_tensor *tensor) {
    uint64_t end = 0;
    if (node == NULL || node->kind != JSON_ARRAY || node->length != 2 || !json_unsigned(node + 1, UINT64_MAX, &tensor->begin) ||
        !json_unsigned(node + 2, UINT64_MAX, &end)) {
        return wf_container_fail(container, "tensor %.*s: its data_offsets must be two integers", wf_shown(tensor->name_length),
                                 tensor->name);
    }
    if (tensor->begin != expected) {
        return wf_container_fail(container,
                                 "tensor %.*s: it begins at offset %" PRIu64 ", but the tensors before it end at %" PRIu64 " (%s)",
                                 wf_shown(tensor->name_length), tensor->name, tensor->begin, expected,
                                 tensor->begin < expected ? "an overlap" : "a gap");
    }
    if (end < tensor->begin || end - tensor->begin != tensor->size) {
        return wf_container_fail(container,
                                 "tensor %.*s: its data_offsets [%" PRIu64 ", %" PRIu64 "] disagree with the %" PRIu64
                                 " bytes of its dtype and shape",
                                 wf_shown(tensor->name_length), tensor->name, tensor->begin, end, tensor->size);
    }
    if (tensor->size % WF_ALIGNMENT != 0) {
        return wf_container_fail(container, "tensor %.*s: its %" PRIu64 " bytes are not a multiple of %u",
                                 wf_shown(tensor->name_length), tensor->name, tensor->size, WF_ALIGNMENT);
    }
    return 0;
}

/* Reads the entry whose key is the node at `key`. */
static int read_entry(const wf_container *container, uint32_t key, uint64_t expected, wf_tensor *tensor) {
    const struct json_document *header = &container->header;
    *tensor = (wf_tensor){.name = header->nodes[key].as.string, .name_length = header->nodes[key].length};
    if (header->nodes[key + 1].kind != JSON_OBJECT || header->nodes[key + 1].length != 3) {
        return wf_container_fail(container, "tensor %.*s: its entry must be an object of dtype, shape and data_offsets",
                                 wf_shown(tensor->name_length), tensor->name);
    }
    if (read_type(container, json_member(header, key + 1, "dtype"), tensor) != 0 ||
        read_shape(container, json_member(header, key + 1, "shape"), tensor) != 0 ||
        read_offsets(container, json_member(header, key + 1, "data_offsets"), expected, tensor) != 0)
        return -1;
    return 0;
}

static int compare_text(const char *left, uint32_t left_length, const char *right, uint32_t right_length) {
    const uint32_t shorter = left_length < right_length ? left_length : right_length;
    const int order = memcmp(left, right, shorter);
    return order != 0 ? order : (left_length > right_length) - (left_length < right_length);
}

static int compare_tensors(const void *left, const void *right) {
    const wf_tensor *a = left;
    const wf_tensor *b = right;
    return compare_text(a->name, a->name_length, b->name, b->name_length);
}

int wf_container_read_tensors(wf_container *container) {
    const struct json_document *header = &container->header;
    container->tensors = calloc(header->nodes[0].length, sizeof *container->tensors);
    if (container->tensors == NULL)
        return wf_container_fail(container, "no memory left for its %" PRIu32 " tensors", header->nodes[0].length);
    if (container->data_start % WF_ALIGNMENT != 0) {
        return wf_container_fail(container, "its tensors begin at byte %" PRIu64 ", which is not a multiple of %u",
                                 container->data_start, WF_ALIGNMENT);
    }
    uint64_t end = 0;
    uint32_t at = 1;
    for (uint32_t member = 0; member < header->nodes[0].length; member++) {
        if (!json_is_string(&header->nodes[at], "__metadata__")) {
            wf_tensor *tensor = &container->tensors[container->tensor_count];
            if (read_entry(container, at, end, tensor) != 0)
                return -1;
            end = tensor->begin + tensor->size;
            container->tensor_count++;
        }
        at = header->nodes[at + 1].next;
    }
    /* Offsets are below 2^53, so the sum does not overflow. */
    const uint64_t expected = container->data_start + end;
    const uint64_t found = container->mapping->size;
    if (found < expected) {
        return wf_container_fail(
            container, "is truncated: its header describes %" PRIu64 " bytes, the file has %" PRIu64 "; copy or convert it again",
            expected, found);
    }
    if (found > expected) {
        return wf_container_fail(
            container, "has %" PRIu64 " bytes after its last tensor: its header describes %" PRIu64 " bytes, the file has %" PRIu64,
            found - expected, expected, found);
    }
    qsort(container->tensors, container->tensor_count, sizeof *container->tensors, compare_tensors);
    return 0;
}

static void print_shape(char out[SHAPE_BYTES], uint32_t dimensions, const uint64_t shape[2]) {
    if (dimensions == 1)
        snprintf(out, SHAPE_BYTES, "[%" PRIu64 "]", shape[0]);
    else
        snprintf(out, SHAPE_BYTES, "[%" PRIu64 ", %" PRIu64 "]", shape[0], shape[1]);
}

uint8_t *wf_container_take(wf_container *container, const char *name, enum wf_data_type type, uint64_t rows, uint64_t columns) {
    wf_tensor *tensor = NULL;
    const uint32_t length = (uint32_t)strlen(name);
    for (uint32_t low = 0, high = container->tensor_count; tensor == NULL && low < high;) {
        const uint32_t middle = low + (high - low) / 2U;
        wf_tensor *candidate = &container->tensors[middle];
        const int order = compare_text(candidate->name, candidate->name_length, name, length);
        if (order == 0)
            tensor = candidate;
        else if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (tensor == NULL) {
        wf_container_fail(container, "tensor %s is missing", name);
        return NULL;
    }
    const uint32_t dimensions = columns == 0 ? 1 : 2;
    const uint64_t shape[2] = {rows, columns};
    if (tensor->type != type || tensor->dimensions != dimensions || tensor->shape[0] != rows || tensor->shape[1] != columns) {
        char found[SHAPE_BYTES];
        char wanted[SHAPE_BYTES];
        print_shape(found, tensor->dimensions, tensor->shape);
        print_shape(wanted, dimensions, shape);
        wf_container_fail(container, "tensor %s is %s %s, but the config calls for %s %s", name, type_names[tensor->type], found,
                          type_names[type], wanted);
        return NULL;
    }
    tensor->used = true;
    return container->mapping->bytes + container->data_start + tensor->begin;
}

int wf_container_refuse_rest(const wf_container *container) {
    static const char assets[] = "assets/";
    for (uint32_t i = 0; i < container->tensor_count; i++) {
        const wf_tensor *tensor = &container->tensors[i];
        const bool asset = tensor->name_length >= sizeof assets && memcmp(tensor->name, assets, sizeof assets - 1) == 0;
        if (asset && (tensor->type != WF_TYPE_U8 || tensor->dimensions != 1)) {
            return wf_container_fail(container, "tensor %.*s: an asset must be U8 of one dimension", wf_shown(tensor->name_length),
                                     tensor->name);
        }
        if (!asset && !tensor->used) {
            return wf_container_fail(container, "tensor %.*s is not one that the config calls for", wf_shown(tensor->name_length),
                                     tensor->name);
        }
    }
    return 0;
}

void wf_container_close(wf_container *container) {
    free(container->tensors);
    json_free(&container->header);
    container->tensors = NULL;
}

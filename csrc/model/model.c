/*
 * model.c: opens a packed file (.wf), checks it and describes it to the rest of the library.
 *
 * A packed file is a safetensors file whose tensors are used where they lie in the mapping, so everything that later
 * code takes for granted is checked here once: that the header is whole, that every tensor lies inside the file at its
 * alignment, and that the tensors are exactly those that the configuration calls for. What is not looked at are the
 * large matrices' values: reading 1.2 GB would take seconds where opening should take milliseconds, and no value in
 * them can lead a kernel out of bounds.
 */
#include "model/model.h"

#include "base/error.h"
#include "base/json.h"
#include "model/random_weights.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed files are little-endian and used in place");

/* The first bytes of a file hold the length of its header. */
#define LENGTH_BYTES 8U

/* safetensors' own limit, 100 MB. */
#define MAX_HEADER_BYTES 100000000U

/* Values and keys in a header: a model of WF_MAX_LAYERS layers has about 220 000. */
#define MAX_HEADER_VALUES 1000000U

/* Values and keys in the configuration. */
#define MAX_CONFIG_VALUES 1000U

/* Room for the name of any tensor that a configuration calls for, and for a shape in a message. */
#define NAME_BYTES 96U
#define SHAPE_BYTES 64U

/* Characters of a stranger's string that a message shows. */
#define SHOWN_BYTES 80U

/* A norm's element count in the file. */
#define NORM_MULTIPLE 16U

enum data_type {
    TYPE_U8,
    TYPE_BF16,
    TYPE_F32,
};

static const char *const type_names[] = {[TYPE_U8] = "U8", [TYPE_BF16] = "BF16", [TYPE_F32] = "F32"};
static const uint64_t type_bytes[] = {[TYPE_U8] = 1, [TYPE_BF16] = 2, [TYPE_F32] = 4};

/* One entry of the header, checked in itself. */
struct tensor {
    const char *name; /* [name_length], in the header */
    uint32_t name_length;
    bool used; /* the configuration called for it */
    enum data_type type;
    uint32_t dimensions; /* 1 or 2 */
    uint64_t shape[2];
    uint64_t begin; /* bytes from the end of the header */
    uint64_t size;
};

/* A file that is being opened. */
struct opening {
    struct wf_model *model;
    struct json_document header;
    struct json_document config;
    uint64_t data_start;    /* where the header ends and the tensors begin */
    struct tensor *tensors; /* [tensor_count], in the order of their names */
    uint32_t tensor_count;
    wf_random_weights *random; /* what fills each tensor when it is taken, in a writable mapping; NULL for a file's */
    char *error;
    uint32_t error_size;
};

/* Writes "<file>: <fault>" into the caller's buffer and returns -1. */
__attribute__((format(printf, 2, 3), cold)) static int fail(const struct opening *opening, const char *format, ...) {
    char fault[512];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(fault, sizeof fault, format, arguments) < 0) {
        fault[0] = '\0';
    }
    va_end(arguments);
    return wf_fail(opening->error, opening->error_size, "%s: %s", opening->model->name, fault);
}

/* How much of a string a message shows, as the precision of a %.*s. */
static int shown(uint32_t length) { return (int)(length < SHOWN_BYTES ? length : SHOWN_BYTES); }

static uint64_t round_up(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/* ---- header ------------------------------------------------------------------------------------------------------ */

/* Reads the header's length and text. */
static int read_header(struct opening *opening) {
    const struct wf_model *model = opening->model;
    if (model->mapping_size < LENGTH_BYTES) {
        return fail(opening, "is no packed model: it has %" PRIu64 " bytes, and a header's length alone takes %u",
                    model->mapping_size, LENGTH_BYTES);
    }
    uint64_t length;
    memcpy(&length, model->mapping, sizeof length);
    if (length > MAX_HEADER_BYTES) {
        return fail(opening,
                    "is no packed model (.wf): its first 8 bytes would mean a header of %" PRIu64
                    " bytes, over the limit of %u; make one with `wrinklefree convert`",
                    length, MAX_HEADER_BYTES);
    }
    if (length > model->mapping_size - LENGTH_BYTES) {
        return fail(opening,
                    "is truncated: its header ends at byte %" PRIu64 ", the file has %" PRIu64 " bytes; copy or convert it again",
                    length + LENGTH_BYTES, model->mapping_size);
    }
    opening->data_start = LENGTH_BYTES + length;
    char detail[256];
    const char *text = (const char *)model->mapping + LENGTH_BYTES;
    if (json_parse(text, (size_t)length, MAX_HEADER_VALUES, &opening->header, detail, sizeof detail) != 0) {
        return fail(opening, "its header is not valid JSON: %s", detail);
    }
    if (opening->header.nodes[0].kind != JSON_OBJECT) {
        return fail(opening, "its header is no JSON object");
    }
    return 0;
}

/* Checks that the file is ours and of a version that this library reads, and reads the configuration's text. */
static int read_metadata(struct opening *opening) {
    const struct json_document *header = &opening->header;
    const struct json_node *metadata = json_member(header, 0, "__metadata__");
    const struct json_node *format = NULL;
    uint32_t index = 0;
    if (metadata != NULL && metadata->kind == JSON_OBJECT) {
        index = (uint32_t)(metadata - header->nodes);
        format = json_member(header, index, "format");
    }
    if (format == NULL || !json_is_string(format, "wrinklefree")) {
        return fail(opening, "is a safetensors file but no packed model (its __metadata__ has no format \"wrinklefree\"); "
                             "make one with `wrinklefree convert`");
    }
    const struct json_node *version = json_member(header, index, "version");
    if (version == NULL || version->kind != JSON_STRING) {
        return fail(opening, "its __metadata__ has no version");
    }
    uint64_t number = 0;
    bool valid = version->length > 0 && version->length <= 9 && version->as.string[0] != '0';
    for (uint32_t i = 0; valid && i < version->length; i++) {
        const char digit = version->as.string[i];
        valid = digit >= '0' && digit <= '9';
        number = number * 10 + (uint64_t)(digit - '0');
    }
    if (!valid) {
        return fail(opening, "its format version \"%.*s\" is invalid", shown(version->length), version->as.string);
    }
    if (number > WF_FORMAT_VERSION) {
        return fail(opening, "made by a newer version of wrinklefree: version %" PRIu64 ", this one reads %d", number,
                    WF_FORMAT_VERSION);
    }
    const struct json_node *config = json_member(header, index, "config");
    if (config == NULL || config->kind != JSON_STRING) {
        return fail(opening, "its __metadata__ has no config");
    }
    char detail[256];
    const char *text = config->as.string;
    if (json_parse(text, config->length, MAX_CONFIG_VALUES, &opening->config, detail, sizeof detail) != 0) {
        return fail(opening, "its config is not valid JSON: %s", detail);
    }
    if (opening->config.nodes[0].kind != JSON_OBJECT) {
        return fail(opening, "its config is no JSON object");
    }
    return 0;
}

/* ---- configuration ----------------------------------------------------------------------------------------------- */

/* Every key that a configuration has, and no other: an unknown one might change what the tensors mean. */
static const char *const config_keys[] = {
    "architecture", "vocab_size",      "hidden_size",  "intermediate_size", "layers",       "heads",
    "kv_heads",     "head_dim",        "context",      "rope_theta",        "rms_norm_eps", "activation",
    "sub_norms",    "tied_embeddings", "bos_token_id", "eos_token_ids",
};
#define CONFIG_KEY_COUNT (sizeof config_keys / sizeof config_keys[0])

/* Checks that the configuration has exactly the known keys. */
static int check_config_keys(const struct opening *opening) {
    const struct json_document *config = &opening->config;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (json_member(config, 0, config_keys[i]) == NULL) {
            return fail(opening, "its config has no \"%s\"", config_keys[i]);
        }
    }
    uint32_t at = 1;
    for (uint32_t member = 0; member < config->nodes[0].length; member++) {
        size_t i = 0;
        while (i < CONFIG_KEY_COUNT && !json_is_string(&config->nodes[at], config_keys[i])) {
            i++;
        }
        if (i == CONFIG_KEY_COUNT) {
            return fail(opening, "its config has an unknown key \"%.*s\"", shown(config->nodes[at].length),
                        config->nodes[at].as.string);
        }
        at = config->nodes[at + 1].next;
    }
    return 0;
}

/* Reads the integer `key`, which must be from `minimum` to `maximum`. */
static int config_integer(const struct opening *opening, const char *key, uint32_t minimum, uint32_t maximum, uint32_t *value) {
    uint64_t number;
    if (!json_unsigned(json_member(&opening->config, 0, key), maximum, &number) || number < minimum) {
        return fail(opening, "its config's %s must be an integer from %" PRIu32 " to %" PRIu32, key, minimum, maximum);
    }
    *value = (uint32_t)number;
    return 0;
}

/* Reads the number `key`, which must be above 0 and below `limit`. */
static int config_positive(const struct opening *opening, const char *key, float limit, float *value) {
    const struct json_node *node = json_member(&opening->config, 0, key);
    const bool below = node->kind == JSON_NUMBER && node->as.number < (double)limit;
    *value = below ? (float)node->as.number : 0.0F;
    if (*value <= 0.0F || *value >= limit) {
        return fail(opening, "its config's %s must be a number above 0 and below %g", key, (double)limit);
    }
    return 0;
}

static int config_boolean(const struct opening *opening, const char *key, bool *value) {
    const struct json_node *node = json_member(&opening->config, 0, key);
    if (node->kind != JSON_BOOLEAN) {
        return fail(opening, "its config's %s must be true or false", key);
    }
    *value = node->as.boolean;
    return 0;
}

static int config_architecture(const struct opening *opening, wf_config *config) {
    const struct json_node *node = json_member(&opening->config, 0, "architecture");
    if (node->kind != JSON_STRING || node->length == 0 || node->length > WF_MAX_ARCHITECTURE) {
        return fail(opening, "its config's architecture must be a name of 1 to %u bytes", WF_MAX_ARCHITECTURE);
    }
    memcpy(config->architecture, node->as.string, node->length);
    config->architecture[node->length] = '\0';
    return 0;
}

static int config_activation(const struct opening *opening, wf_config *config) {
    const struct json_node *node = json_member(&opening->config, 0, "activation");
    if (json_is_string(node, "relu2")) {
        config->activation = WF_RELU_SQUARED;
    } else if (json_is_string(node, "silu")) {
        config->activation = WF_SILU;
    } else {
        return fail(opening, "its config's activation must be \"relu2\" or \"silu\"");
    }
    return 0;
}

/* Reads the ids of the tokens that begin and end a text. */
static int config_tokens(const struct opening *opening, wf_config *config) {
    const uint32_t last = config->vocabulary - 1;
    const struct json_node *bos = json_member(&opening->config, 0, "bos_token_id");
    uint64_t id = WF_NO_TOKEN;
    if (bos->kind != JSON_NULL && !json_unsigned(bos, last, &id)) {
        return fail(opening, "its config's bos_token_id must be null or an integer from 0 to %" PRIu32, last);
    }
    config->bos_token_id = (uint32_t)id;
    const struct json_node *eos = json_member(&opening->config, 0, "eos_token_ids");
    bool valid = eos->kind == JSON_ARRAY && eos->length <= WF_MAX_EOS_TOKENS;
    for (uint32_t i = 0; valid && i < eos->length; i++) {
        /* A value that is an array itself ends the loop, so elements stand side by side. */
        valid = json_unsigned(eos + 1 + i, last, &id);
        config->eos_token_ids[i] = (uint32_t)id;
    }
    if (!valid) {
        return fail(opening, "its config's eos_token_ids must be an array of at most %u integers from 0 to %" PRIu32,
                    WF_MAX_EOS_TOKENS, last);
    }
    config->eos_count = eos->length;
    return 0;
}

/* Reads the configuration into the model. */
static int read_config(struct opening *opening) {
    wf_config *config = &opening->model->config;
    if (check_config_keys(opening) != 0 || config_architecture(opening, config) != 0 ||
        config_integer(opening, "vocab_size", 1, WF_MAX_VOCABULARY, &config->vocabulary) != 0 ||
        config_integer(opening, "hidden_size", 2, WF_MAX_HIDDEN, &config->hidden) != 0 ||
        config_integer(opening, "intermediate_size", 2, WF_MAX_INTERMEDIATE, &config->intermediate) != 0 ||
        config_integer(opening, "layers", 1, WF_MAX_LAYERS, &config->layers) != 0 ||
        config_integer(opening, "heads", 1, WF_MAX_HEADS, &config->heads) != 0 ||
        config_integer(opening, "kv_heads", 1, WF_MAX_HEADS, &config->kv_heads) != 0 ||
        config_integer(opening, "head_dim", 2, WF_MAX_HEAD_DIM, &config->head_dim) != 0 ||
        config_integer(opening, "context", 1, WF_MAX_CONTEXT, &config->context) != 0 ||
        config_positive(opening, "rope_theta", FLT_MAX, &config->rope_theta) != 0 ||
        config_positive(opening, "rms_norm_eps", 1.0F, &config->rms_norm_eps) != 0 || config_activation(opening, config) != 0 ||
        config_boolean(opening, "sub_norms", &config->sub_norms) != 0 ||
        config_boolean(opening, "tied_embeddings", &config->tied_embeddings) != 0 || config_tokens(opening, config) != 0) {
        return -1;
    }
    if (config->heads % config->kv_heads != 0) {
        return fail(opening, "its config's kv_heads %" PRIu32 " must divide its heads %" PRIu32, config->kv_heads, config->heads);
    }
    /* Rotary embeddings pair up a head's dimensions; the other two keep the rows' sizes at multiples of 64 bytes. */
    if (config->head_dim % 2 != 0 || config->hidden % 2 != 0 || config->intermediate % 2 != 0) {
        return fail(opening, "its config's head_dim, hidden_size and intermediate_size must be even");
    }
    return 0;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* Reads the dtype of an entry. */
static int read_type(const struct opening *opening, const struct json_node *node, struct tensor *tensor) {
    if (node != NULL) {
        for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++) {
            if (json_is_string(node, type_names[i])) {
                tensor->type = (enum data_type)i;
                return 0;
            }
        }
    }
    return fail(opening, "tensor %.*s: its dtype must be U8, BF16 or F32", shown(tensor->name_length), tensor->name);
}

/* Reads the shape of an entry and computes its size. */
static int read_shape(const struct opening *opening, const struct json_node *node, struct tensor *tensor) {
    bool valid = node != NULL && node->kind == JSON_ARRAY && node->length >= 1 && node->length <= 2;
    for (uint32_t i = 0; valid && i < node->length; i++) {
        valid = json_unsigned(node + 1 + i, UINT64_MAX, &tensor->shape[i]);
    }
    if (!valid) {
        return fail(opening, "tensor %.*s: its shape must be an array of one or two integers", shown(tensor->name_length),
                    tensor->name);
    }
    tensor->dimensions = node->length;
    uint64_t size = type_bytes[tensor->type];
    for (uint32_t i = 0; i < tensor->dimensions; i++) {
        if (__builtin_mul_overflow(size, tensor->shape[i], &size)) {
            return fail(opening, "tensor %.*s: its shape is too large", shown(tensor->name_length), tensor->name);
        }
    }
    tensor->size = size;
    return 0;
}

/* Reads where an entry lies. It must begin where the one before it ended. */
static int read_offsets(const struct opening *opening, const struct json_node *node, uint64_t expected, struct tensor *tensor) {
    uint64_t end = 0;
    if (node == NULL || node->kind != JSON_ARRAY || node->length != 2 || !json_unsigned(node + 1, UINT64_MAX, &tensor->begin) ||
        !json_unsigned(node + 2, UINT64_MAX, &end)) {
        return fail(opening, "tensor %.*s: its data_offsets must be two integers", shown(tensor->name_length), tensor->name);
    }
    if (tensor->begin != expected) {
        return fail(opening, "tensor %.*s: it begins at offset %" PRIu64 ", but the tensors before it end at %" PRIu64 " (%s)",
                    shown(tensor->name_length), tensor->name, tensor->begin, expected,
                    tensor->begin < expected ? "an overlap" : "a gap");
    }
    if (end < tensor->begin || end - tensor->begin != tensor->size) {
        return fail(opening,
                    "tensor %.*s: its data_offsets [%" PRIu64 ", %" PRIu64 "] disagree with the %" PRIu64
                    " bytes of its dtype and shape",
                    shown(tensor->name_length), tensor->name, tensor->begin, end, tensor->size);
    }
    if (tensor->size % WF_ALIGNMENT != 0) {
        return fail(opening, "tensor %.*s: its %" PRIu64 " bytes are not a multiple of %u", shown(tensor->name_length),
                    tensor->name, tensor->size, WF_ALIGNMENT);
    }
    return 0;
}

/* Reads the entry whose key is the node at `key`. */
static int read_entry(const struct opening *opening, uint32_t key, uint64_t expected, struct tensor *tensor) {
    const struct json_document *header = &opening->header;
    *tensor = (struct tensor){.name = header->nodes[key].as.string, .name_length = header->nodes[key].length};
    if (header->nodes[key + 1].kind != JSON_OBJECT || header->nodes[key + 1].length != 3) {
        return fail(opening, "tensor %.*s: its entry must be an object of dtype, shape and data_offsets",
                    shown(tensor->name_length), tensor->name);
    }
    if (read_type(opening, json_member(header, key + 1, "dtype"), tensor) != 0 ||
        read_shape(opening, json_member(header, key + 1, "shape"), tensor) != 0 ||
        read_offsets(opening, json_member(header, key + 1, "data_offsets"), expected, tensor) != 0) {
        return -1;
    }
    return 0;
}

static int compare_text(const char *left, uint32_t left_length, const char *right, uint32_t right_length) {
    const uint32_t shorter = left_length < right_length ? left_length : right_length;
    const int order = memcmp(left, right, shorter);
    return order != 0 ? order : (left_length > right_length) - (left_length < right_length);
}

static int compare_tensors(const void *left, const void *right) {
    const struct tensor *a = left;
    const struct tensor *b = right;
    return compare_text(a->name, a->name_length, b->name, b->name_length);
}

/* Reads all entries; they must fill the file from the header's end to its own. */
static int read_tensors(struct opening *opening) {
    const struct json_document *header = &opening->header;
    opening->tensors = calloc(header->nodes[0].length, sizeof *opening->tensors);
    if (opening->tensors == NULL) {
        return fail(opening, "no memory left for its %" PRIu32 " tensors", header->nodes[0].length);
    }
    if (opening->data_start % WF_ALIGNMENT != 0) {
        return fail(opening, "its tensors begin at byte %" PRIu64 ", which is not a multiple of %u", opening->data_start,
                    WF_ALIGNMENT);
    }
    uint64_t end = 0;
    uint32_t at = 1;
    for (uint32_t member = 0; member < header->nodes[0].length; member++) {
        if (!json_is_string(&header->nodes[at], "__metadata__")) {
            struct tensor *tensor = &opening->tensors[opening->tensor_count];
            if (read_entry(opening, at, end, tensor) != 0) {
                return -1;
            }
            end = tensor->begin + tensor->size;
            opening->tensor_count++;
        }
        at = header->nodes[at + 1].next;
    }
    /* Offsets are below 2^53, so the sum does not overflow. */
    const uint64_t expected = opening->data_start + end;
    const uint64_t found = opening->model->mapping_size;
    if (found < expected) {
        return fail(opening,
                    "is truncated: its header describes %" PRIu64 " bytes, the file has %" PRIu64 "; copy or convert it again",
                    expected, found);
    }
    if (found > expected) {
        return fail(opening,
                    "has %" PRIu64 " bytes after its last tensor: its header describes %" PRIu64 " bytes, the file has %" PRIu64,
                    found - expected, expected, found);
    }
    qsort(opening->tensors, opening->tensor_count, sizeof *opening->tensors, compare_tensors);
    return 0;
}

static void print_shape(char out[SHAPE_BYTES], uint32_t dimensions, const uint64_t shape[2]) {
    if (dimensions == 1) {
        snprintf(out, SHAPE_BYTES, "[%" PRIu64 "]", shape[0]);
    } else {
        snprintf(out, SHAPE_BYTES, "[%" PRIu64 ", %" PRIu64 "]", shape[0], shape[1]);
    }
}

/* Finds the tensor that the configuration calls for. `columns` is 0 for one of one dimension. Returns its bytes, or
 * NULL with the error written. */
static const uint8_t *take(struct opening *opening, const char *name, enum data_type type, uint64_t rows, uint64_t columns) {
    struct tensor *tensor = NULL;
    const uint32_t length = (uint32_t)strlen(name);
    for (uint32_t low = 0, high = opening->tensor_count; tensor == NULL && low < high;) {
        const uint32_t middle = low + (high - low) / 2U;
        struct tensor *candidate = &opening->tensors[middle];
        const int order = compare_text(candidate->name, candidate->name_length, name, length);
        if (order == 0) {
            tensor = candidate;
        } else if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (tensor == NULL) {
        fail(opening, "tensor %s is missing", name);
        return NULL;
    }
    const uint32_t dimensions = columns == 0 ? 1 : 2;
    const uint64_t shape[2] = {rows, columns};
    if (tensor->type != type || tensor->dimensions != dimensions || tensor->shape[0] != rows || tensor->shape[1] != columns) {
        char found[SHAPE_BYTES];
        char wanted[SHAPE_BYTES];
        print_shape(found, tensor->dimensions, tensor->shape);
        print_shape(wanted, dimensions, shape);
        fail(opening, "tensor %s is %s %s, but the config calls for %s %s", name, type_names[tensor->type], found, type_names[type],
             wanted);
        return NULL;
    }
    tensor->used = true;
    return opening->model->mapping + opening->data_start + tensor->begin;
}

/* Finds a matrix of bf16 with a row per token. Whole rows of zeros pad it to a multiple of 64 bytes. */
static int take_vocabulary(struct opening *opening, const char *name, const uint16_t **matrix) {
    const wf_config *config = &opening->model->config;
    uint64_t rows = config->vocabulary;
    while (rows * config->hidden * type_bytes[TYPE_BF16] % WF_ALIGNMENT != 0) {
        rows++;
    }
    const uint8_t *bytes = take(opening, name, TYPE_BF16, rows, config->hidden);
    *matrix = (const uint16_t *)(const void *)bytes;
    if (bytes != NULL && opening->random != NULL) {
        wf_random_bf16(opening->random, (uint16_t *)(uintptr_t)bytes, rows * config->hidden);
    }
    return bytes == NULL ? -1 : 0;
}

/* Finds a norm of `count` values and checks them, padding included: they are few, and one NaN would silence the whole
 * model. */
static int take_norm(struct opening *opening, const char *prefix, const char *suffix, uint32_t count, const float **norm) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", prefix, suffix);
    const uint64_t padded = round_up(count, NORM_MULTIPLE);
    const uint8_t *bytes = take(opening, name, TYPE_F32, padded, 0);
    if (bytes == NULL) {
        return -1;
    }
    const float *values = (const float *)(const void *)bytes;
    for (uint32_t i = 0; opening->random != NULL && i < count; i++) {
        ((float *)(uintptr_t)values)[i] = 1.0F;
    }
    for (uint64_t i = 0; i < padded; i++) {
        if (!isfinite(values[i])) {
            return fail(opening, "tensor %s: its element %" PRIu64 " is not a finite number", name, i);
        }
        if (i >= count && values[i] != 0.0F) {
            return fail(opening, "tensor %s: its padding from element %" PRIu32 " on is not zero", name, count);
        }
    }
    *norm = values;
    return 0;
}

/* Finds a linear layer's rows and scale. */
static int take_linear(struct opening *opening, const char *prefix, const char *suffix, uint32_t inputs, uint32_t outputs,
                       wf_linear *linear) {
    const uint64_t row_bytes = wf_packed_row_bytes(inputs);
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s.weight", prefix, suffix);
    const uint8_t *rows = take(opening, name, TYPE_U8, outputs, row_bytes);
    if (rows == NULL) {
        return -1;
    }
    snprintf(name, sizeof name, "%s%s.weight_scale", prefix, suffix);
    const uint8_t *scale_bytes = take(opening, name, TYPE_F32, NORM_MULTIPLE, 0);
    if (scale_bytes == NULL) {
        return -1;
    }
    float scale;
    if (opening->random != NULL) {
        scale = wf_random_ternary(opening->random, (uint8_t *)(uintptr_t)rows, outputs, inputs);
        memcpy((uint8_t *)(uintptr_t)scale_bytes, &scale, sizeof scale);
    }
    memcpy(&scale, scale_bytes, sizeof scale);
    if (!isfinite(scale) || scale <= 0.0F) {
        return fail(opening, "tensor %s: its scale is %g; it must be finite and above 0", name, (double)scale);
    }
    *linear = (wf_linear){
        .rows = rows,
        .scale_kind = WF_SCALE_TENSOR,
        .scale = scale,
        .inputs = inputs,
        .outputs = outputs,
        .row_bytes = (uint32_t)row_bytes,
    };
    opening->model->ternary_bytes += outputs * row_bytes;
    return 0;
}

/* Finds all tensors of one layer. */
static int take_layer(struct opening *opening, uint32_t number, wf_layer *layer) {
    const wf_config *config = &opening->model->config;
    const uint32_t hidden = config->hidden;
    const uint32_t heads = config->heads * config->head_dim;
    const uint32_t kv_heads = config->kv_heads * config->head_dim;
    char prefix[NAME_BYTES / 2];
    snprintf(prefix, sizeof prefix, "model.layers.%" PRIu32 ".", number);
    if (take_norm(opening, prefix, "input_layernorm.weight", hidden, &layer->input_norm) != 0 ||
        take_linear(opening, prefix, "self_attn.q_proj", hidden, heads, &layer->query) != 0 ||
        take_linear(opening, prefix, "self_attn.k_proj", hidden, kv_heads, &layer->key) != 0 ||
        take_linear(opening, prefix, "self_attn.v_proj", hidden, kv_heads, &layer->value) != 0 ||
        take_linear(opening, prefix, "self_attn.o_proj", heads, hidden, &layer->output) != 0 ||
        take_norm(opening, prefix, "post_attention_layernorm.weight", hidden, &layer->post_attention_norm) != 0 ||
        take_linear(opening, prefix, "mlp.gate_proj", hidden, config->intermediate, &layer->gate) != 0 ||
        take_linear(opening, prefix, "mlp.up_proj", hidden, config->intermediate, &layer->up) != 0 ||
        take_linear(opening, prefix, "mlp.down_proj", config->intermediate, hidden, &layer->down) != 0) {
        return -1;
    }
    if (opening->random != NULL) {
        wf_random_silence(opening->random, (uint8_t *)(uintptr_t)layer->gate.rows, layer->gate.outputs, layer->gate.row_bytes);
    }
    if (config->sub_norms &&
        (take_norm(opening, prefix, "self_attn.attn_sub_norm.weight", heads, &layer->attention_sub_norm) != 0 ||
         take_norm(opening, prefix, "mlp.ffn_sub_norm.weight", config->intermediate, &layer->ffn_sub_norm) != 0)) {
        return -1;
    }
    return 0;
}

/* Finds every tensor that the configuration calls for and refuses all others but the assets, which only TypeScript
 * reads. */
static int take_tensors(struct opening *opening) {
    struct wf_model *model = opening->model;
    if (take_vocabulary(opening, "model.embed_tokens.weight", &model->embedding) != 0) {
        return -1;
    }
    model->head = model->embedding;
    if (!model->config.tied_embeddings && take_vocabulary(opening, "lm_head.weight", &model->head) != 0) {
        return -1;
    }
    model->layers = calloc(model->config.layers, sizeof *model->layers);
    if (model->layers == NULL) {
        return fail(opening, "no memory left for its %" PRIu32 " layers", model->config.layers);
    }
    for (uint32_t i = 0; i < model->config.layers; i++) {
        if (take_layer(opening, i, &model->layers[i]) != 0) {
            return -1;
        }
    }
    if (take_norm(opening, "model.norm.weight", "", model->config.hidden, &model->final_norm) != 0) {
        return -1;
    }
    static const char assets[] = "assets/";
    for (uint32_t i = 0; i < opening->tensor_count; i++) {
        const struct tensor *tensor = &opening->tensors[i];
        const bool asset = tensor->name_length >= sizeof assets && memcmp(tensor->name, assets, sizeof assets - 1) == 0;
        if (asset && (tensor->type != TYPE_U8 || tensor->dimensions != 1)) {
            return fail(opening, "tensor %.*s: an asset must be U8 of one dimension", shown(tensor->name_length), tensor->name);
        }
        if (!asset && !tensor->used) {
            return fail(opening, "tensor %.*s is not one that the config calls for", shown(tensor->name_length), tensor->name);
        }
    }
    return 0;
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

/* Makes a model of a mapping, which it takes over also when it fails. `random` as in struct opening; `is_file` says whether the mapping is
 * that of the file `name`. */
static wf_model *open_mapping(void *mapping, uint64_t size, const char *name, bool is_file, wf_random_weights *random, char *error,
                              uint32_t error_size) {
    struct wf_model *model = calloc(1, sizeof *model);
    char *copy = strdup(name);
    wf_mapped_file *file = is_file ? wf_mapped_file_note(mapping, (size_t)size, name) : NULL;
    if (model == NULL || copy == NULL || (is_file && file == NULL)) {
        wf_mapped_file_forget(file);
        free(model);
        free(copy);
        munmap(mapping, (size_t)size);
        wf_fail(error, error_size, "%s: no memory left to open it", name);
        return NULL;
    }
    model->mapping = mapping;
    model->mapping_size = size;
    model->file = file;
    model->name = copy;
    atomic_init(&model->references, 1);
    struct opening opening = {.model = model, .random = random, .error = error, .error_size = error_size};
    const bool opened = read_header(&opening) == 0 && read_metadata(&opening) == 0 && read_config(&opening) == 0 &&
                        read_tensors(&opening) == 0 && take_tensors(&opening) == 0;
    free(opening.tensors);
    json_free(&opening.config);
    json_free(&opening.header);
    if (!opened) {
        wf_model_close(model);
        return NULL;
    }
    return model;
}

/* Opens the file at `path` for reading and puts its size into *size. Returns the descriptor, or -1 with the error
 * written. */
static int open_file(const char *path, uint64_t *size, char *error, uint32_t error_size) {
    /* Without O_NONBLOCK the opening of a pipe would wait for a writer. */
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        return wf_fail(error, error_size, "%s: can't be opened: %s", path, strerror(errno));
    }
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
    if (reserved == MAP_FAILED) {
        return MAP_FAILED;
    }
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t before = (HUGE_PAGE_BYTES - (uintptr_t)reserved % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    const uint64_t end = before + (size + page - 1) / page * page;
    if (before > 0) {
        munmap(reserved, (size_t)before);
    }
    if (end < room) {
        munmap(reserved + end, (size_t)(room - end));
    }
    void *mapping = mmap(reserved + before, (size_t)size, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0);
    if (mapping == MAP_FAILED) {
        const int reason = errno;
        munmap(reserved + before, (size_t)(end - before));
        errno = reason;
        return MAP_FAILED;
    }
#if defined(MADV_HUGEPAGE)
    (void)madvise(mapping, (size_t)size, MADV_HUGEPAGE); /* advice: systems without it serve from small pages */
#endif
    return mapping;
}

/* Brings in what every token needs, all but embedding and head, so that no request pays for it. Advice, like the above. */
static void prefault_layers(const wf_model *model) {
#if defined(MADV_POPULATE_READ)
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t first = (uint64_t)((const uint8_t *)model->layers[0].input_norm - model->mapping) / page * page;
    (void)madvise((void *)(uintptr_t)(model->mapping + first), (size_t)(model->mapping_size - first), MADV_POPULATE_READ);
#else
    (void)model;
#endif
}

wf_model *wf_model_open(const char *path, char *error, uint32_t error_size) {
    if (path == NULL) {
        wf_fail(error, error_size, "no path of a packed model was given");
        return NULL;
    }
    uint64_t size = 0;
    const int file = open_file(path, &size, error, error_size);
    if (file < 0) {
        return NULL;
    }
    void *mapping = map_file(file, size);
    if (mapping == MAP_FAILED) {
        wf_fail(error, error_size, "%s: its %" PRIu64 " bytes can't be mapped: %s", path, size, strerror(errno));
    }
    close(file);
    wf_model *model = mapping == MAP_FAILED ? NULL : open_mapping(mapping, size, path, true, NULL, error, error_size);
    if (model != NULL) {
        prefault_layers(model);
    }
    return model;
}

void wf_model_release(const wf_model *model, const void *start, size_t bytes) {
    if (model->file == NULL) {
        return;
    }
    /* Whole pages: the one that the next part begins in goes with that. */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = (uintptr_t)start / page * page, end = ((uintptr_t)start + bytes) / page * page;
    if (end > first) {
        (void)madvise((void *)first, end - first, MADV_DONTNEED); /* advice */
    }
}

/* Maps `size` bytes of zeros. A mapping gives a model in memory the same alignment, protection and end as a file's. Returns
 * NULL with the error written. */
static void *map_memory(uint64_t size, const char *name, char *error, uint32_t error_size) {
    void *mapping = MAP_FAILED;
    if (size <= SIZE_MAX) {
        mapping = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (mapping == MAP_FAILED) {
        wf_fail(error, error_size, "%s: no memory left for its %" PRIu64 " bytes", name, size);
        return NULL;
    }
    return mapping;
}

wf_model *wf_model_open_bytes(const uint8_t *bytes, uint64_t size, const char *name, char *error, uint32_t error_size) {
    if (bytes == NULL || size == 0 || name == NULL) {
        wf_fail(error, error_size, "%s: is no packed model: it is empty", name == NULL ? "a model in memory" : name);
        return NULL;
    }
    void *mapping = map_memory(size, name, error, error_size);
    if (mapping == NULL) {
        return NULL;
    }
    memcpy(mapping, bytes, (size_t)size);
    if (mprotect(mapping, (size_t)size, PROT_READ) != 0) {
        munmap(mapping, (size_t)size);
        wf_fail(error, error_size, "%s: its copy can't be protected: %s", name, strerror(errno));
        return NULL;
    }
    return open_mapping(mapping, size, name, false, NULL, error, error_size);
}

wf_model *wf_model_open_random(const uint8_t *header, uint64_t header_size, uint64_t size, double zeros, const char *name,
                               char *error, uint32_t error_size) {
    if (header == NULL || name == NULL || header_size > size) {
        wf_fail(error, error_size, "%s: is no packed model's header", name == NULL ? "a model in memory" : name);
        return NULL;
    }
    if (!(zeros >= 0 && zeros <= 1)) {
        wf_fail(error, error_size, "%s: its share of zeros is %g; 0 to 1 can be had", name, zeros);
        return NULL;
    }
    /* Systems promise more memory than there is, and end the program that takes them at their word. */
    const uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (size > memory) {
        wf_fail(error, error_size, "%s: its %" PRIu64 " MB do not fit into this machine's memory of %" PRIu64 " MB", name,
                size / 1000000U, memory / 1000000U);
        return NULL;
    }
    void *mapping = map_memory(size, name, error, error_size);
    if (mapping == NULL) {
        return NULL;
    }
#if defined(MADV_HUGEPAGE)
    (void)madvise(mapping, (size_t)size, MADV_HUGEPAGE); /* advice: without it the filling takes longer */
#endif
    memcpy(mapping, header, (size_t)header_size);
    wf_random_weights *random = wf_random_create(zeros);
    if (random == NULL) {
        munmap(mapping, (size_t)size);
        wf_fail(error, error_size, "%s: no memory left to make its weights", name);
        return NULL;
    }
    wf_model *model = open_mapping(mapping, size, name, false, random, error, error_size);
    wf_random_destroy(random);
    if (model != NULL && mprotect(mapping, (size_t)size, PROT_READ) != 0) {
        wf_fail(error, error_size, "%s: its weights can't be protected: %s", name, strerror(errno));
        wf_model_close(model);
        return NULL;
    }
    return model;
}

wf_model *wf_model_retain(const wf_model *model) {
    wf_model *retained = (wf_model *)(uintptr_t)model;
    atomic_fetch_add(&retained->references, 1);
    return retained;
}

void wf_model_close(wf_model *model) {
    if (model == NULL || atomic_fetch_sub(&model->references, 1) > 1) {
        return;
    }
    wf_mapped_file_forget(model->file);
    munmap((void *)(uintptr_t)model->mapping, (size_t)model->mapping_size);
    free(model->layers);
    free(model->name);
    free(model);
}

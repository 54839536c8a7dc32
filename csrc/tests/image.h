/*
 * image.h: builds valid packed files (.wf) in memory for the tests: of any small shape, blank or with random weights,
 * and with chosen entries of the header left out or altered for the tests of the reader.
 */
#ifndef WF_IMAGE_H
#define WF_IMAGE_H

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "wrinklefree.h"

#define IMAGE_HEADER_BYTES 65536U
#define IMAGE_TENSORS_MAX 128U

/* A tensor that is written in another way than the configuration calls for, all offsets being right. */
struct alteration {
    const char *name;
    const char *type;
    size_t width, rows, columns;
    bool two_dimensions;
};

/* What an image is made from. */
struct recipe {
    uint32_t vocabulary, hidden, intermediate, layers, heads, kv_heads, head_dim;
    bool sub_norms, tied, silu;
    const char *without;              /* leave this tensor out; NULL: none */
    const struct alteration *altered; /* NULL: none */
};

/* A packed file in memory. */
struct image {
    uint8_t *bytes; /* [size] */
    size_t size;
    char header[IMAGE_HEADER_BYTES]; /* the JSON, without the spaces that pad it */
    uint8_t *data;                   /* [data_size], in place in bytes */
    size_t data_size;
    struct {
        char name[96];
        size_t begin, size;
        size_t count; /* elements of a norm or of a row that are not padding; 0 for other tensors */
    } tensors[IMAGE_TENSORS_MAX];
    uint32_t tensor_count;
    size_t header_used;
    const struct recipe *recipe;
};

__attribute__((format(printf, 2, 3))) static inline void image_append(struct image *image, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(image->header + image->header_used, IMAGE_HEADER_BYTES - image->header_used, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= IMAGE_HEADER_BYTES - image->header_used) {
        printf("a test's header is too long\n");
        exit(1);
    }
    image->header_used += (size_t)length;
}

/* Adds the entry of a tensor; `columns` 0 for one dimension. */
static inline void image_add(struct image *image, const char *prefix, const char *name, const char *type, size_t width, size_t rows,
                             size_t columns) {
    char full[96];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    if (image->recipe->without != NULL && strcmp(image->recipe->without, full) == 0) {
        return;
    }
    bool two_dimensions = columns != 0;
    const struct alteration *altered = image->recipe->altered;
    if (altered != NULL && strcmp(altered->name, full) == 0) {
        type = altered->type;
        width = altered->width;
        rows = altered->rows;
        columns = altered->columns;
        two_dimensions = altered->two_dimensions;
    }
    const size_t size = rows * (two_dimensions ? columns : 1) * width;
    image_append(image, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu", full, type, rows);
    if (two_dimensions) {
        image_append(image, ",%zu", columns);
    }
    image_append(image, "],\"data_offsets\":[%zu,%zu]}", image->data_size, image->data_size + size);
    memcpy(image->tensors[image->tensor_count].name, full, sizeof full);
    image->tensors[image->tensor_count].begin = image->data_size;
    image->tensors[image->tensor_count].size = size;
    image->tensors[image->tensor_count].count = 0;
    image->tensor_count++;
    image->data_size += size;
}

static inline void image_add_norm(struct image *image, const char *prefix, const char *name, size_t count) {
    const uint32_t index = image->tensor_count;
    image_add(image, prefix, name, "F32", 4, (count + 15) / 16 * 16, 0);
    image->tensors[index].count = count;
}

static inline void image_add_linear(struct image *image, const char *prefix, const char *name, size_t inputs, size_t outputs) {
    const uint32_t index = image->tensor_count;
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    image_add(image, prefix, full, "U8", 1, outputs, (inputs + 127) / 128 * 32);
    snprintf(full, sizeof full, "%s.weight_scale", name);
    image_add(image, prefix, full, "F32", 4, 16, 0);
    image->tensors[index].count = image->tensors[index + 1].count = inputs;
}

/* Writes image->header, padded, and the data behind it into image->bytes. */
static inline void image_assemble(struct image *image, const uint8_t *data) {
    const size_t length = strlen(image->header);
    const size_t padded = (length + 8 + 63) / 64 * 64 - 8;
    const uint64_t field = padded;
    uint8_t *bytes = need(malloc(8 + padded + image->data_size + 1));
    memcpy(bytes, &field, 8);
    memset(bytes + 8, ' ', padded);
    memcpy(bytes + 8, image->header, length);
    memcpy(bytes + 8 + padded, data, image->data_size);
    free(image->bytes);
    image->bytes = bytes;
    image->data = bytes + 8 + padded;
    image->size = 8 + padded + image->data_size;
}

static inline size_t image_find(const struct image *image, const char *name) {
    for (size_t i = 0; i < image->tensor_count; i++) {
        if (strcmp(image->tensors[i].name, name) == 0) {
            return i;
        }
    }
    printf("a test asks for the tensor %s, which its image lacks\n", name);
    exit(1);
}

/* Sets element `index` of an F32 tensor. */
static inline void image_set_float(struct image *image, const char *name, size_t index, float value) {
    memcpy(image->data + image->tensors[image_find(image, name)].begin + index * 4, &value, sizeof value);
}

/* Replaces the first `from` in the header by `to` and assembles the image anew. */
static inline void image_replace(struct image *image, const char *from, const char *to) {
    char *at = strstr(image->header, from);
    if (at == NULL || strlen(image->header) + strlen(to) >= IMAGE_HEADER_BYTES) {
        printf("a test can't replace %s\n", from);
        exit(1);
    }
    memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
    memcpy(at, to, strlen(to));
    uint8_t *data = need(malloc(image->data_size + 1));
    memcpy(data, image->data, image->data_size);
    image_assemble(image, data);
    free(data);
}

/* Builds an image whose weights are zero bytes and whose scales differ. Free it with image_drop. */
static inline struct image *image_build(const struct recipe *recipe) {
    struct image *image = need(calloc(1, sizeof *image));
    image->recipe = recipe;
    image_append(image,
                 "{\"__metadata__\":{\"format\":\"wrinklefree\",\"version\":\"2\",\"source\":\"test\",\"source_sha256\":\"00\","
                 "\"config\":\"{");
    image_append(image,
                 "\\\"architecture\\\":\\\"TestForCausalLM\\\",\\\"vocab_size\\\":%u,\\\"hidden_size\\\":%u,"
                 "\\\"intermediate_size\\\":%u,\\\"layers\\\":%u,\\\"heads\\\":%u,\\\"kv_heads\\\":%u,\\\"head_dim\\\":%u,",
                 recipe->vocabulary, recipe->hidden, recipe->intermediate, recipe->layers, recipe->heads, recipe->kv_heads,
                 recipe->head_dim);
    image_append(image,
                 "\\\"context\\\":256,\\\"rope_theta\\\":500000,\\\"rms_norm_eps\\\":0.00001,\\\"activation\\\":\\\"%s\\\","
                 "\\\"sub_norms\\\":%s,\\\"tied_embeddings\\\":%s,\\\"bos_token_id\\\":1,\\\"eos_token_ids\\\":[2,3]}\"}",
                 recipe->silu ? "silu" : "relu2", recipe->sub_norms ? "true" : "false", recipe->tied ? "true" : "false");
    size_t rows = recipe->vocabulary;
    while (rows * recipe->hidden * 2 % 64 != 0) {
        rows++;
    }
    const size_t attention = (size_t)recipe->heads * recipe->head_dim;
    const size_t kv = (size_t)recipe->kv_heads * recipe->head_dim;
    image_add(image, "", "model.embed_tokens.weight", "BF16", 2, rows, recipe->hidden);
    if (!recipe->tied) {
        image_add(image, "", "lm_head.weight", "BF16", 2, rows, recipe->hidden);
    }
    for (uint32_t layer = 0; layer < recipe->layers; layer++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "model.layers.%u.", layer);
        image_add_norm(image, prefix, "input_layernorm.weight", recipe->hidden);
        image_add_linear(image, prefix, "self_attn.q_proj", recipe->hidden, attention);
        image_add_linear(image, prefix, "self_attn.k_proj", recipe->hidden, kv);
        image_add_linear(image, prefix, "self_attn.v_proj", recipe->hidden, kv);
        if (recipe->sub_norms) {
            image_add_norm(image, prefix, "self_attn.attn_sub_norm.weight", attention);
        }
        image_add_linear(image, prefix, "self_attn.o_proj", attention, recipe->hidden);
        image_add_norm(image, prefix, "post_attention_layernorm.weight", recipe->hidden);
        image_add_linear(image, prefix, "mlp.gate_proj", recipe->hidden, recipe->intermediate);
        image_add_linear(image, prefix, "mlp.up_proj", recipe->hidden, recipe->intermediate);
        if (recipe->sub_norms) {
            image_add_norm(image, prefix, "mlp.ffn_sub_norm.weight", recipe->intermediate);
        }
        image_add_linear(image, prefix, "mlp.down_proj", recipe->intermediate, recipe->hidden);
    }
    image_add_norm(image, "", "model.norm.weight", recipe->hidden);
    image_add(image, "", "assets/tokenizer.json", "U8", 1, 128, 0);
    image_append(image, "}");

    uint8_t *data = need(calloc(image->data_size + 1, 1));
    image_assemble(image, data);
    free(data);
    for (uint32_t i = 0; i < image->tensor_count; i++) {
        const char *name = image->tensors[i].name;
        const size_t length = strlen(name);
        if (length > 13 && strcmp(name + length - 13, ".weight_scale") == 0 && image->tensors[i].size > 0) {
            image_set_float(image, name, 0, 0.5F + (float)i);
        }
    }
    return image;
}

static inline bool image_ends_with(const char *name, const char *end) {
    const size_t length = strlen(name), end_length = strlen(end);
    return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

/* A number from -1 to 1. */
static inline float image_random_float(struct check_random *random) {
    return (float)((double)check_below(random, 1U << 24) / (double)(1U << 23) - 1.0);
}

/* Gives all weights random values of a size that keeps a model's numbers near 1: embeddings from -1 to 1, norms from
 * 0.5 to 1.5, ternary weights -1, 0 and 1 alike, scales to match. */
static inline void image_randomise(struct image *image, struct check_random *random) {
    for (uint32_t i = 0; i < image->tensor_count; i++) {
        const char *name = image->tensors[i].name;
        const size_t count = image->tensors[i].count, size = image->tensors[i].size;
        uint8_t *data = image->data + image->tensors[i].begin;
        if (image_ends_with(name, ".weight_scale")) {
            const float scale = 1.2F / sqrtf((float)count);
            memcpy(data, &scale, sizeof scale);
        } else if (image_ends_with(name, "norm.weight")) {
            for (size_t e = 0; e < count; e++) {
                const float value = 1.0F + 0.5F * image_random_float(random);
                memcpy(data + e * sizeof value, &value, sizeof value);
            }
        } else if (count > 0) {
            const size_t rows = size / wf_packed_row_bytes(count);
            uint8_t *codes = need(malloc(rows * count));
            for (size_t e = 0; e < rows * count; e++) {
                codes[e] = (uint8_t)check_below(random, 3);
            }
            if (wf_pack_rows(codes, WF_SOURCE_CODES, rows, count, 1.0F, data, NULL, 0) != 0) {
                exit(1);
            }
            free(codes);
        } else if (strncmp(name, "assets/", 7) != 0) {
            for (size_t e = 0; e < (size_t)image->recipe->vocabulary * image->recipe->hidden; e++) {
                const float value = image_random_float(random);
                memcpy(data + e * 2, (const uint8_t *)&value + 2, 2);
            }
        }
    }
}

/* Writes the image to a file of its own in the temporary directory, path[PATH_MAX]. */
static inline void image_write(const struct image *image, char *path) {
    const char *directory = getenv("TMPDIR");
    snprintf(path, PATH_MAX, "%s/wrinklefree-test-XXXXXX", directory == NULL ? "/tmp" : directory);
    const int file = mkstemp(path);
    if (file < 0 || write(file, image->bytes, image->size) != (ssize_t)image->size) {
        printf("%s can't be written\n", path);
        exit(1);
    }
    close(file);
}

static inline void image_drop(struct image *image) {
    free(image->bytes);
    free(image);
}

#endif

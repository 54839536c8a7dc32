/*
 * model.h: what an open model looks like to the rest of the library.
 *
 * A model is a packed file (.wf) that is mapped and used in place: every pointer below leads into the mapping, and
 * wf_model_open has checked that each lies inside it with the shape that the configuration demands. Nothing here
 * changes after the opening, so any number of engines and threads read one model at once.
 */
#ifndef WF_MODEL_H
#define WF_MODEL_H

#include "base/mapped_files.h"
#include "wrinklefree.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of the packed format that this library reads. */
#define WF_FORMAT_VERSION 1

/* Bounds on a configuration. They are far above any model that this engine can serve in reasonable time, and low enough
 * that no product of a few of them overflows 64 bits and that int32 sums of ternary rows (127 * inputs) stay exact. */
#define WF_MAX_HIDDEN 65536U
#define WF_MAX_INTERMEDIATE 1048576U
#define WF_MAX_LAYERS 1024U
#define WF_MAX_HEADS 1024U
#define WF_MAX_HEAD_DIM 1024U
#define WF_MAX_VOCABULARY (1U << 24)
#define WF_MAX_CONTEXT (1U << 24)
#define WF_MAX_EOS_TOKENS 64U
#define WF_MAX_ARCHITECTURE 127U /* bytes of the architecture's name */

/* Value of wf_config.bos_token_id when the model has none. */
#define WF_NO_TOKEN UINT32_MAX

/* Ternary rows are made of blocks of this many weights, in this many bytes; wf_pack_rows in wrinklefree.h says in which
 * order. */
#define WF_BLOCK_WEIGHTS 128U
#define WF_BLOCK_BYTES 32U

/* Every tensor starts at a multiple of this many bytes. */
#define WF_ALIGNMENT 64U

enum wf_activation {
    WF_RELU_SQUARED, /* relu(x)² ("relu2") */
    WF_SILU,         /* x / (1 + exp(-x)) ("silu") */
};

/* The scales of a linear layer. Only one kind so far; per-row and per-group scales will be further ones. */
enum wf_scale_kind {
    WF_SCALE_TENSOR, /* one factor for the whole matrix: wf_linear.scale */
};

/* A ternary linear layer: outputs = (Σ t·xq) * scale / s, s being the activations' scale. The rows' values are not
 * checked at opening. The weights past `inputs` are zero only if the converter was right: kernels keep the activations
 * there at zero. A code of 3, which no converter writes, must be just another value to a kernel (t = +2), never an
 * index. */
typedef struct wf_linear {
    const uint8_t *rows; /* [outputs][row_bytes], 64-byte aligned */
    enum wf_scale_kind scale_kind;
    float scale;        /* to multiply by; finite and above 0 */
    uint32_t inputs;    /* columns */
    uint32_t outputs;   /* rows */
    uint32_t row_bytes; /* ceil(inputs / 128) * 32 */
} wf_linear;

/* One transformer layer. "↑16": padded with zeros to a multiple of 16 elements. Values of norms are finite. */
typedef struct wf_layer {
    const float *input_norm;          /* [hidden ↑16] */
    wf_linear query;                  /* hidden → heads * head_dim */
    wf_linear key;                    /* hidden → kv_heads * head_dim */
    wf_linear value;                  /* hidden → kv_heads * head_dim */
    const float *attention_sub_norm;  /* [heads * head_dim ↑16], NULL without sub-norms */
    wf_linear output;                 /* heads * head_dim → hidden */
    const float *post_attention_norm; /* [hidden ↑16] */
    wf_linear gate;                   /* hidden → intermediate */
    wf_linear up;                     /* hidden → intermediate */
    const float *ffn_sub_norm;        /* [intermediate ↑16], NULL without sub-norms */
    wf_linear down;                   /* intermediate → hidden */
} wf_layer;

/* The normalised configuration, every value within the bounds above. */
typedef struct wf_config {
    char architecture[WF_MAX_ARCHITECTURE + 1]; /* the source's name for it, for display only */
    uint32_t vocabulary;                        /* token ids are below this */
    uint32_t hidden;                            /* even */
    uint32_t intermediate;                      /* even */
    uint32_t layers;
    uint32_t heads;     /* a multiple of kv_heads */
    uint32_t kv_heads;  /* at least 1 */
    uint32_t head_dim;  /* even */
    uint32_t context;   /* tokens that the model was made for */
    float rope_theta;   /* finite, above 0 */
    float rms_norm_eps; /* finite, above 0, below 1 */
    enum wf_activation activation;
    bool sub_norms;
    bool tied_embeddings;
    uint32_t bos_token_id; /* below vocabulary, or WF_NO_TOKEN */
    uint32_t eos_count;
    uint32_t eos_token_ids[WF_MAX_EOS_TOKENS]; /* [eos_count], each below vocabulary */
} wf_config;

struct wf_model {
    wf_config config;
    const uint16_t *embedding; /* [vocabulary][hidden] bf16 (a few zero rows may follow) */
    const uint16_t *head;      /* the same shape; == embedding when tied */
    const float *final_norm;   /* [hidden ↑16] */
    wf_layer *layers;          /* [config.layers] */
    const uint8_t *mapping;    /* [mapping_size], page-aligned, read-only */
    uint64_t mapping_size;
    wf_mapped_file *file; /* that is mapped; NULL: a model in memory */
    atomic_uint references;
    uint64_t ternary_bytes; /* bytes of all ternary rows: what one decode step reads beside the head and the KV cache */
    char *name;             /* the path that was opened, or the name given with the bytes */
};

/* Adds a reference, which wf_model_close gives up. */
wf_model *wf_model_retain(const wf_model *model);

/* Gives back the memory that a part of a mapped file takes; who reads there again finds it in the file. A model that lives in memory keeps
 * it. */
void wf_model_release(const wf_model *model, const void *start, size_t bytes);

#endif

/*
 * model.h: what an open model looks like to the rest of the library.
 *
 * A model is a packed file (.wf) that is mapped and used in place: every pointer below leads into the mapping, and
 * wf_model_open has checked that each lies inside it with the shape that the configuration demands. Nothing here
 * changes after the opening, so any number of engines and threads read one model at once.
 */
#ifndef WF_MODEL_H
#define WF_MODEL_H

#include <stdatomic.h>

#include "model/config.h"
#include "model/linear.h"
#include "model/mapping.h"
#include "wrinklefree.h"

/* A router's weights are floats, each the sum of so many bf16: the rows of all experts' first parts, of their second ones, … */
#define WF_ROUTER_PARTS 3U

/* One of the experts of a layer. */
typedef struct wf_expert {
    wf_linear gate; /* hidden → config.intermediate */
    wf_linear up;   /* hidden → config.intermediate */
    wf_linear down; /* config.intermediate → hidden */
} wf_expert;

/* One transformer layer. "↑16": padded with zeros to a multiple of 16 elements. Values of norms are finite. */
typedef struct wf_layer {
    const float *input_norm;          /* [hidden ↑16] */
    wf_linear query;                  /* hidden → heads * head_dim */
    wf_linear key;                    /* hidden → kv_heads * head_dim */
    wf_linear value;                  /* hidden → kv_heads * head_dim */
    const float *query_norm;          /* [head_dim ↑16] of each head, NULL without QK-norms */
    const float *key_norm;            /* [head_dim ↑16] of each head, NULL without QK-norms */
    const float *attention_sub_norm;  /* [heads * head_dim ↑16], NULL without sub-norms */
    wf_linear output;                 /* heads * head_dim → hidden */
    const float *attention_post_norm; /* [hidden ↑16] of what attention gives, NULL without post-norms */
    const float *post_attention_norm; /* [hidden ↑16], before the FFN */
    wf_linear gate;             /* hidden → neurons, as many as config.ffn_neurons says; without rows where the FFN has no gate */
    wf_linear up;               /* hidden → neurons, as many as config.ffn_neurons says */
    const float *ffn_sub_norm;  /* [neurons ↑16], NULL without sub-norms */
    wf_linear down;             /* neurons → hidden */
    wf_linear router;           /* hidden → WF_ROUTER_PARTS * experts; without rows where no softmax chooses */
    wf_expert *experts;         /* [config.experts] in the place of gate, up and down; NULL: there are none */
    const float *ffn_post_norm; /* [hidden ↑16] of what the FFN gives, NULL without post-norms */
} wf_layer;

struct wf_model {
    wf_config config;
    wf_linear embedding;     /* a row for each token (a few zero rows may follow) */
    wf_linear head;          /* hidden → vocabulary; the embedding's rows when tied */
    const float *final_norm; /* [hidden ↑16] */
    wf_layer *layers;        /* [config.layers] */
    wf_expert *experts;      /* [config.layers * config.experts], which the layers share out */
    wf_mapping mapping;      /* read-only */
    char *name;              /* the path that was opened, or the name given with the bytes */
    atomic_uint references;
};

/* Adds a reference, which wf_model_close gives up. */
wf_model *wf_model_retain(const wf_model *model);

/* wf_model_open with bytes of `memory`, 0 for the machine's, whose reading of the file another thread may watch. */
wf_model *wf_model_open_watched(const char *path, uint64_t memory, wf_reading *reading, char *error, uint32_t error_size);

#endif

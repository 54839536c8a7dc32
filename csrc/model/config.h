/*
 * config.h: the numbers and kinds that make a model what it is.
 */
#ifndef WF_CONFIG_H
#define WF_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "model/container.h"
#include "wrinklefree.h"

/* Value of wf_config.bos_token_id when the model has none. */
#define WF_NO_TOKEN UINT32_MAX

/* What the gates of the FFN go through. */
enum wf_activation {
    WF_RELU_SQUARED, /* relu(x)² ("relu2") */
    WF_SILU,         /* x / (1 + exp(-x)) ("silu") */
};

/* The normalised configuration, every value within the bounds of wrinklefree.h. */
typedef struct wf_config {
    char architecture[WF_ARCHITECTURE_MAX + 1]; /* the source's name for it, for display only */
    uint32_t vocabulary;                        /* token ids are below this */
    uint32_t hidden;                            /* even */
    uint32_t intermediate;                      /* even */
    uint32_t layers;
    uint32_t ffn_neurons[WF_LAYERS_MAX];       /* [layers] of the intermediate ones, those that are there: even */
    uint32_t heads;                            /* a multiple of kv_heads */
    uint32_t kv_heads;                         /* at least 1 */
    uint32_t head_dim;                         /* even */
    uint32_t context;                          /* tokens that the model was made for */
    float rope_theta;                          /* finite, above 0 */
    double rope_divisors[WF_HEAD_DIM_MAX / 2]; /* [head_dim / 2] of the rotary frequencies, above 0 and below WF_ROPE_DIVISOR_MAX */
    float rms_norm_eps;                        /* finite, above 0, below 1 */
    enum wf_activation activation;
    bool sub_norms;
    bool tied_embeddings;
    uint32_t bos_token_id; /* below vocabulary, or WF_NO_TOKEN */
    uint32_t eos_count;
    uint32_t eos_token_ids[WF_EOS_TOKENS_MAX]; /* [eos_count], each below vocabulary */
} wf_config;

/* Reads the configuration of a container whose header was read. Returns 0, or -1 with the container's error written. */
int wf_config_read(const wf_container *container, wf_config *config);

#endif

/*
 * config.h: the numbers and kinds that make a model what it is.
 */
#ifndef WF_CONFIG_H
#define WF_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "model/container.h"
#include "model/linear.h"
#include "wrinklefree.h"

/* Value of wf_config.bos_token_id when the model has none. */
#define WF_NO_TOKEN UINT32_MAX

/* What the gates of the FFN go through. */
enum wf_activation {
    WF_RELU_SQUARED, /* relu(x)² ("relu2") */
    WF_SILU,         /* x / (1 + exp(-x)) ("silu") */
    WF_GELU_TANH,    /* x / (1 + exp(-2 sqrt(2/pi) (x + 0.044715 x³))), which is GELU's approximation with tanh ("gelu_tanh") */
};

/* How a router chooses the experts of a token. */
enum wf_router {
    WF_ROUTER_SOFTMAX,  /* the largest shares of a softmax over all, which may be made to add up to 1 ("softmax") */
    WF_ROUTER_IDENTITY, /* always the first ones, with equal shares ("identity") */
};

/* What a text's embedding is made of. */
enum wf_pooling {
    WF_POOLING_NONE, /* the model gives tokens, no embeddings */
    WF_POOLING_LAST, /* the hidden state of the last token ("last") */
    WF_POOLING_MEAN, /* the mean of all ("mean") */
    WF_POOLING_CLS,  /* that of the first ("cls") */
};

/* The normalised configuration, every value within the bounds of wrinklefree.h. */
typedef struct wf_config {
    char architecture[WF_ARCHITECTURE_MAX + 1]; /* the source's name for it, for display only */
    uint32_t vocabulary;                        /* token ids are below this */
    uint32_t hidden;                            /* even */
    uint32_t intermediate;                      /* even */
    uint32_t layers;
    uint32_t ffn_neurons[WF_LAYERS_MAX]; /* [layers] of the intermediate ones, those that are there: even */
    uint32_t heads;                      /* a multiple of kv_heads */
    uint32_t kv_heads;                   /* at least 1 */
    uint32_t head_dim;                   /* even */
    uint32_t context;                    /* tokens that the model was made for */
    uint32_t original_context;           /* tokens that it was made for before it was stretched: context where it was not */
    float rope_theta;                    /* finite, above 0 */
    uint32_t rope_dimensions;            /* of a head, the first ones, that are rotated: even, at most head_dim */
    double rope_divisors[WF_HEAD_DIM_MAX /
                         2]; /* [rope_dimensions / 2] of the rotary frequencies, above 0 and below WF_ROPE_DIVISOR_MAX */
    double rope_long_divisors[WF_HEAD_DIM_MAX / 2]; /* the same where the context is longer than original_context */
    float rope_magnitude;                           /* of rotated keys and queries; 1 but where a model was stretched */
    float rms_norm_eps;                             /* finite, above 0, below 1 */
    enum wf_activation activation;
    bool is_gated; /* the FFN is down(activation(gate) * up), not down(activation(up)) */
    float
        activation_limit; /* gates are at most this before the activation, and what they gate is within ± this; infinite for none */
    bool sub_norms;       /* a norm before the output and the down projection */
    bool input_norms;     /* a norm of each projection's own before it */
    bool post_norms;      /* a norm of what attention and FFN give */
    bool qk_norms;        /* a norm of each head's query and key */

    /* Ternary matrices: */
    enum wf_scale_kind scales; /* WF_SCALE_MATRIX, _ROW or _GROUP */
    uint32_t scale_group;      /* 16, 32, 64 or 128; that of a ternary embedding or head as well */
    bool ternary_embedding;
    bool ternary_head; /* that of ternary_embedding where they are tied */
    bool tied_embeddings;

    /* Factors, each finite and above 0, and 1 where a model has none: */
    float embedding_scale; /* of embeddings */
    float residual_scale;  /* of what attention and FFN add */
    float logit_divisor;   /* what the head's inputs are divided by */
    float attention_scale; /* of scores: 1 / sqrt(head_dim) as a rule */

    /* Layers that see only so many tokens: */
    uint32_t sliding_window;               /* with the token itself; 0: there are no such layers */
    uint8_t sliding_layers[WF_LAYERS_MAX]; /* [layers] 1: the layer is one */
    float sliding_rope_theta;              /* of their rotary positions, which have no divisors; 0: as of the other layers */
    bool full_rope;                        /* the other layers have rotary positions */

    /* Mixtures of experts, where each of `experts` has an FFN of `intermediate` neurons: */
    uint32_t experts;      /* 0: the FFN is one */
    uint32_t experts_used; /* by a token, 1 to WF_EXPERTS_USED_MAX */
    enum wf_router router;
    bool normalises_shares; /* the shares of the experts that are used are made to add up to 1 */

    enum wf_pooling pooling;
    uint32_t bos_token_id;  /* below vocabulary, or WF_NO_TOKEN */
    uint32_t mask_token_id; /* a token that no answer has; below vocabulary, or WF_NO_TOKEN */
    uint32_t eos_count;
    uint32_t eos_token_ids[WF_EOS_TOKENS_MAX]; /* [eos_count], each below vocabulary */
} wf_config;

/* Reads the configuration of a container whose header was read. Returns 0, or -1 with the container's error written. */
int wf_config_read(const wf_container *container, wf_config *config);

#endif

/*
 * config.c: reads the configuration of a packed file, which is JSON.
 */
#include "model/config.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

/* Values and keys in the configuration. */
#define MAX_CONFIG_VALUES 4000U

/* The text of a configuration as it is read. */
struct reading {
    const wf_container *container; /* that it is of, for messages */
    struct json_document json;
};

/* Every key that a configuration has, then those that it may have, and no other: an unknown one might change what the tensors mean. */
static const char *const config_keys[] = {
    "architecture",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "layers",
    "heads",
    "kv_heads",
    "head_dim",
    "context",
    "rope_theta",
    "rms_norm_eps",
    "activation",
    "sub_norms",
    "tied_embeddings",
    "bos_token_id",
    "eos_token_ids",
    /* Those that it may have: */
    "ffn_neurons",
    "rope_dimensions",
    "rope_divisors",
    "rope_long_divisors",
    "original_context",
    "rope_magnitude",
    "gated",
    "activation_limit",
    "input_norms",
    "post_norms",
    "qk_norms",
    "scales",
    "ternary_embedding",
    "ternary_head",
    "embedding_scale",
    "residual_scale",
    "logit_divisor",
    "attention_scale",
    "sliding_window",
    "sliding_layers",
    "sliding_rope_theta",
    "full_rope",
    "experts",
    "experts_used",
    "router",
    "normalises_shares",
    "pooling",
    "mask_token_id",
};
#define CONFIG_KEY_COUNT (sizeof config_keys / sizeof config_keys[0])
#define REQUIRED_KEY_COUNT 16U

static bool has(const struct reading *reading, const char *key) { return json_member(&reading->json, 0, key) != NULL; }

/* Checks that the configuration has all keys that it needs, and only known ones. */
static int check_config_keys(const struct reading *reading) {
    const struct json_document *config = &reading->json;
    for (size_t i = 0; i < REQUIRED_KEY_COUNT; i++)
        if (json_member(config, 0, config_keys[i]) == NULL)
            return wf_container_fail(reading->container, "its config has no \"%s\"", config_keys[i]);
    uint32_t at = 1;
    for (uint32_t member = 0; member < config->nodes[0].length; member++) {
        size_t i = 0;
        while (i < CONFIG_KEY_COUNT && !json_is_string(&config->nodes[at], config_keys[i]))
            i++;
        if (i == CONFIG_KEY_COUNT) {
            return wf_container_fail(reading->container, "its config has an unknown key \"%.*s\"",
                                     wf_shown(config->nodes[at].length), config->nodes[at].as.string);
        }
        at = config->nodes[at + 1].next;
    }
    return 0;
}

/* Reads the integer `key`, which must be from `minimum` to `maximum`. */
static int config_integer(const struct reading *reading, const char *key, uint32_t minimum, uint32_t maximum, uint32_t *value) {
    uint64_t number;
    if (!json_unsigned(json_member(&reading->json, 0, key), maximum, &number) || number < minimum) {
        return wf_container_fail(reading->container, "its config's %s must be an integer from %" PRIu32 " to %" PRIu32, key,
                                 minimum, maximum);
    }
    *value = (uint32_t)number;
    return 0;
}

/* Reads the number `key`, which must be above 0 and below `limit`. */
static int config_positive(const struct reading *reading, const char *key, float limit, float *value) {
    const struct json_node *node = json_member(&reading->json, 0, key);
    const bool below = node->kind == JSON_NUMBER && node->as.number < (double)limit;
    *value = below ? (float)node->as.number : 0.0f;
    if (*value <= 0.0f || *value >= limit)
        return wf_container_fail(reading->container, "its config's %s must be a number above 0 and below %g", key, (double)limit);
    return 0;
}

static int config_boolean(const struct reading *reading, const char *key, bool *value) {
    const struct json_node *node = json_member(&reading->json, 0, key);
    if (node->kind != JSON_BOOLEAN)
        return wf_container_fail(reading->container, "its config's %s must be true or false", key);
    *value = node->as.boolean;
    return 0;
}

static int config_architecture(const struct reading *reading, wf_config *config) {
    const struct json_node *node = json_member(&reading->json, 0, "architecture");
    if (node->kind != JSON_STRING || node->length == 0 || node->length > WF_ARCHITECTURE_MAX) {
        return wf_container_fail(reading->container, "its config's architecture must be a name of 1 to %u bytes",
                                 WF_ARCHITECTURE_MAX);
    }
    memcpy(config->architecture, node->as.string, node->length);
    config->architecture[node->length] = '\0';
    return 0;
}

/* Reads the number `key`, above 0 and finite, or `fallback` where the configuration doesn't have it. */
static int config_factor(const struct reading *reading, const char *key, float fallback, float *value) {
    *value = fallback;
    return has(reading, key) ? config_positive(reading, key, FLT_MAX, value) : 0;
}

/* Likewise for a boolean. */
static int config_choice(const struct reading *reading, const char *key, bool fallback, bool *value) {
    *value = fallback;
    return has(reading, key) ? config_boolean(reading, key, value) : 0;
}

/* Likewise for an integer from 0 to `maximum`. */
static int config_count(const struct reading *reading, const char *key, uint32_t maximum, uint32_t fallback, uint32_t *value) {
    *value = fallback;
    return has(reading, key) ? config_integer(reading, key, 0, maximum, value) : 0;
}

/* The place of the text `key` among names[count], 0 where the configuration doesn't have it. */
static int config_name(const struct reading *reading, const char *key, const char *const *names, uint32_t count, uint32_t *place) {
    *place = 0;
    if (!has(reading, key))
        return 0;
    const struct json_node *node = json_member(&reading->json, 0, key);
    while (*place < count && !json_is_string(node, names[*place]))
        ++*place;
    if (*place < count)
        return 0;
    char listed[128] = "";
    for (uint32_t i = 0; i < count; i++) {
        const size_t used = strlen(listed);
        snprintf(listed + used, sizeof listed - used, "%s\"%s\"", i == 0 ? "" : i + 1 < count ? ", " : " or ", names[i]);
    }
    return wf_container_fail(reading->container, "its config's %s must be %s", key, listed);
}

static int config_activation(const struct reading *reading, wf_config *config) {
    static const char *const names[] = {"relu2", "silu", "gelu_tanh"};
    static const enum wf_activation kinds[] = {WF_RELU_SQUARED, WF_SILU, WF_GELU_TANH};
    uint32_t place;
    if (config_name(reading, "activation", names, 3, &place) != 0 ||
        config_factor(reading, "activation_limit", INFINITY, &config->activation_limit) != 0)
        return -1;
    config->activation = kinds[place];
    return 0;
}

/* Reads what scales ternary matrices, and which of them there are beside the layers'. */
static int config_scales(const struct reading *reading, wf_config *config) {
    static const char *const names[] = {"matrix", "row", "16", "32", "64", "128"};
    static const enum wf_scale_kind kinds[] = {WF_SCALE_MATRIX, WF_SCALE_ROW,   WF_SCALE_GROUP,
                                               WF_SCALE_GROUP,  WF_SCALE_GROUP, WF_SCALE_GROUP};
    uint32_t place;
    if (config_name(reading, "scales", names, 6, &place) != 0 ||
        config_choice(reading, "ternary_embedding", false, &config->ternary_embedding) != 0 ||
        config_choice(reading, "ternary_head", false, &config->ternary_head) != 0)
        return -1;
    config->scales = kinds[place];
    config->scale_group = config->scales == WF_SCALE_GROUP ? 4U << place : 128;
    if (config->tied_embeddings)
        config->ternary_head = config->ternary_embedding;
    return 0;
}

/* Reads which layers see only a window, and their rotary positions. */
static int config_windows(const struct reading *reading, wf_config *config) {
    if (config_count(reading, "sliding_window", WF_CONTEXT_MAX, 0, &config->sliding_window) != 0 ||
        config_choice(reading, "full_rope", true, &config->full_rope) != 0 ||
        config_factor(reading, "sliding_rope_theta", 0, &config->sliding_rope_theta) != 0)
        return -1;
    const struct json_node *list = json_member(&reading->json, 0, "sliding_layers");
    bool valid = list == NULL ? config->sliding_window == 0
                              : config->sliding_window > 0 && list->kind == JSON_ARRAY && list->length == config->layers;
    for (uint32_t i = 0; list != NULL && valid && i < config->layers; i++) {
        /* A value that is an array itself ends the loop, so elements stand side by side. */
        uint64_t is_sliding;
        valid = json_unsigned(list + 1 + i, 1, &is_sliding);
        config->sliding_layers[i] = valid ? (uint8_t)is_sliding : 0;
    }
    if (!valid) {
        return wf_container_fail(
            reading->container, "its config's sliding_layers must be an array of %" PRIu32 " zeros and ones, with a sliding_window",
            config->layers);
    }
    return 0;
}

/* Reads how many experts there are and how they are chosen. */
static int config_experts(const struct reading *reading, wf_config *config) {
    static const char *const names[] = {"softmax", "identity"};
    uint32_t place;
    if (config_count(reading, "experts", WF_EXPERTS_MAX, 0, &config->experts) != 0 ||
        config_count(reading, "experts_used", WF_EXPERTS_USED_MAX, 0, &config->experts_used) != 0 ||
        config_name(reading, "router", names, 2, &place) != 0 ||
        config_choice(reading, "normalises_shares", false, &config->normalises_shares) != 0)
        return -1;
    config->router = place == 0 ? WF_ROUTER_SOFTMAX : WF_ROUTER_IDENTITY;
    const bool valid =
        config->experts == 0 ? config->experts_used == 0 : config->experts_used >= 1 && config->experts_used <= config->experts;
    if (!valid) {
        return wf_container_fail(reading->container, "its config's experts_used %" PRIu32 " can't be used of %" PRIu32 " experts",
                                 config->experts_used, config->experts);
    }
    if (config->experts > 0 && (config->sub_norms || config->input_norms || !config->is_gated || has(reading, "ffn_neurons")))
        return wf_container_fail(reading->container,
                                 "its config has experts, which have gates, as many neurons each, and no norms of their own");
    return 0;
}

/* Reads what differs from model to model in what layers are made of. */
static int config_parts(const struct reading *reading, wf_config *config) {
    static const char *const poolings[] = {"none", "last", "mean", "cls"};
    static const enum wf_pooling pooling_kinds[] = {WF_POOLING_NONE, WF_POOLING_LAST, WF_POOLING_MEAN, WF_POOLING_CLS};
    uint32_t pooling;
    if (config_choice(reading, "gated", true, &config->is_gated) != 0 ||
        config_choice(reading, "input_norms", false, &config->input_norms) != 0 ||
        config_choice(reading, "post_norms", false, &config->post_norms) != 0 ||
        config_choice(reading, "qk_norms", false, &config->qk_norms) != 0 ||
        config_factor(reading, "embedding_scale", 1, &config->embedding_scale) != 0 ||
        config_factor(reading, "residual_scale", 1, &config->residual_scale) != 0 ||
        config_factor(reading, "logit_divisor", 1, &config->logit_divisor) != 0 ||
        config_factor(reading, "attention_scale", 1.0f / sqrtf((float)config->head_dim), &config->attention_scale) != 0 ||
        config_name(reading, "pooling", poolings, 4, &pooling) != 0)
        return -1;
    config->pooling = pooling_kinds[pooling];
    return 0;
}

/* Reads a list of what the rotary frequencies are divided by; `otherwise`, or 1 for NULL, where the configuration doesn't have it. */
static int config_divisors(const struct reading *reading, const char *key, const double *otherwise, const wf_config *config,
                           double *divisors) {
    const struct json_node *list = json_member(&reading->json, 0, key);
    const uint32_t count = config->rope_dimensions / 2;
    bool valid = list == NULL || (list->kind == JSON_ARRAY && list->length == count);
    for (uint32_t i = 0; valid && i < count; i++) {
        /* A value that is an array itself ends the loop, so elements stand side by side. */
        const struct json_node *node = list == NULL ? NULL : list + 1 + i;
        valid = node == NULL || (node->kind == JSON_NUMBER && node->as.number > 0 && node->as.number < WF_ROPE_DIVISOR_MAX);
        divisors[i] = node != NULL && valid ? node->as.number : otherwise == NULL ? 1.0 : otherwise[i];
    }
    if (!valid) {
        return wf_container_fail(reading->container, "its config's %s must be an array of %" PRIu32 " numbers above 0 and below %d",
                                 key, count, WF_ROPE_DIVISOR_MAX);
    }
    return 0;
}

/* Reads those of contexts up to the original one, and of longer ones. */
static int config_rope_divisors(const struct reading *reading, wf_config *config) {
    const bool is_stretched = has(reading, "original_context");
    if (is_stretched != has(reading, "rope_long_divisors"))
        return wf_container_fail(reading->container,
                                 "its config has one of original_context and rope_long_divisors without the other");
    config->original_context = config->context;
    if (is_stretched && config_integer(reading, "original_context", 1, config->context, &config->original_context) != 0)
        return -1;
    return config_divisors(reading, "rope_divisors", NULL, config, config->rope_divisors) != 0
               ? -1
               : config_divisors(reading, "rope_long_divisors", config->rope_divisors, config, config->rope_long_divisors);
}

/* Reads how many neurons each layer's FFN has: all where the configuration doesn't say. */
static int config_ffn_neurons(const struct reading *reading, wf_config *config) {
    const struct json_node *list = json_member(&reading->json, 0, "ffn_neurons");
    bool valid = list == NULL || (list->kind == JSON_ARRAY && list->length == config->layers);
    for (uint32_t i = 0; valid && i < config->layers; i++) {
        /* A value that is an array itself ends the loop, so elements stand side by side. */
        uint64_t count = config->intermediate;
        valid = list == NULL || (json_unsigned(list + 1 + i, config->intermediate, &count) && count >= 2 && count % 2 == 0);
        config->ffn_neurons[i] = (uint32_t)count;
    }
    if (!valid) {
        return wf_container_fail(reading->container,
                                 "its config's ffn_neurons must be an array of %" PRIu32 " even integers from 2 to %" PRIu32,
                                 config->layers, config->intermediate);
    }
    return 0;
}

/* Reads the ids of the tokens that begin and end a text. */
static int config_tokens(const struct reading *reading, wf_config *config) {
    const uint32_t last = config->vocabulary - 1;
    const struct json_node *bos = json_member(&reading->json, 0, "bos_token_id");
    uint64_t id = WF_NO_TOKEN;
    if (bos->kind != JSON_NULL && !json_unsigned(bos, last, &id)) {
        return wf_container_fail(reading->container, "its config's bos_token_id must be null or an integer from 0 to %" PRIu32,
                                 last);
    }
    config->bos_token_id = (uint32_t)id;
    if (config_count(reading, "mask_token_id", last, WF_NO_TOKEN, &config->mask_token_id) != 0)
        return -1;
    const struct json_node *eos = json_member(&reading->json, 0, "eos_token_ids");
    bool valid = eos->kind == JSON_ARRAY && eos->length <= WF_EOS_TOKENS_MAX;
    for (uint32_t i = 0; valid && i < eos->length; i++) {
        /* A value that is an array itself ends the loop, so elements stand side by side. */
        valid = json_unsigned(eos + 1 + i, last, &id);
        config->eos_token_ids[i] = (uint32_t)id;
    }
    if (!valid) {
        return wf_container_fail(reading->container,
                                 "its config's eos_token_ids must be an array of at most %u integers from 0 to %" PRIu32,
                                 WF_EOS_TOKENS_MAX, last);
    }
    config->eos_count = eos->length;
    return 0;
}

/* Reads all of it. */
static int read_config(const struct reading *reading, wf_config *config) {
    if (check_config_keys(reading) != 0 || config_architecture(reading, config) != 0 ||
        config_integer(reading, "vocab_size", 1, WF_VOCABULARY_MAX, &config->vocabulary) != 0 ||
        config_integer(reading, "hidden_size", 2, WF_HIDDEN_MAX, &config->hidden) != 0 ||
        config_integer(reading, "intermediate_size", 2, WF_INTERMEDIATE_MAX, &config->intermediate) != 0 ||
        config_integer(reading, "layers", 1, WF_LAYERS_MAX, &config->layers) != 0 || config_ffn_neurons(reading, config) != 0 ||
        config_integer(reading, "heads", 1, WF_HEADS_MAX, &config->heads) != 0 ||
        config_integer(reading, "kv_heads", 1, WF_HEADS_MAX, &config->kv_heads) != 0 ||
        config_integer(reading, "head_dim", 2, WF_HEAD_DIM_MAX, &config->head_dim) != 0 ||
        config_integer(reading, "context", 1, WF_CONTEXT_MAX, &config->context) != 0 ||
        config_count(reading, "rope_dimensions", WF_HEAD_DIM_MAX, config->head_dim, &config->rope_dimensions) != 0 ||
        config_positive(reading, "rope_theta", FLT_MAX, &config->rope_theta) != 0 || config_rope_divisors(reading, config) != 0 ||
        config_factor(reading, "rope_magnitude", 1, &config->rope_magnitude) != 0 ||
        config_positive(reading, "rms_norm_eps", 1.0f, &config->rms_norm_eps) != 0 || config_activation(reading, config) != 0 ||
        config_boolean(reading, "sub_norms", &config->sub_norms) != 0 ||
        config_boolean(reading, "tied_embeddings", &config->tied_embeddings) != 0 || config_scales(reading, config) != 0 ||
        config_parts(reading, config) != 0 || config_windows(reading, config) != 0 || config_experts(reading, config) != 0 ||
        config_tokens(reading, config) != 0)
        return -1;
    if (config->heads % config->kv_heads != 0) {
        return wf_container_fail(reading->container, "its config's kv_heads %" PRIu32 " must divide its heads %" PRIu32,
                                 config->kv_heads, config->heads);
    }
    /* Rotary embeddings pair up a head's dimensions; the other two keep the rows' sizes at multiples of 64 bytes. */
    if (config->head_dim % 2 != 0 || config->hidden % 2 != 0 || config->intermediate % 2 != 0)
        return wf_container_fail(reading->container, "its config's head_dim, hidden_size and intermediate_size must be even");
    if (config->rope_dimensions < 2 || config->rope_dimensions > config->head_dim || config->rope_dimensions % 2 != 0) {
        return wf_container_fail(reading->container,
                                 "its config's rope_dimensions must be an even integer from 2 to its head_dim %" PRIu32,
                                 config->head_dim);
    }
    return 0;
}

int wf_config_read(const wf_container *container, wf_config *config) {
    struct reading reading = {.container = container};
    const struct json_node *text = container->config;
    char detail[256];
    if (json_parse(text->as.string, text->length, MAX_CONFIG_VALUES, &reading.json, detail, sizeof detail) != 0)
        return wf_container_fail(container, "its config is not valid JSON: %s", detail);
    int result;
    if (reading.json.nodes[0].kind != JSON_OBJECT)
        result = wf_container_fail(container, "its config is no JSON object");
    else
        result = read_config(&reading, config);
    json_free(&reading.json);
    return result;
}

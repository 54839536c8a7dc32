/*
 * config.c: reads the configuration of a packed file, which is JSON.
 */
#include "model/config.h"

#include <float.h>
#include <inttypes.h>
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
    "architecture", "vocab_size",      "hidden_size",  "intermediate_size", "layers",        "heads",
    "kv_heads",     "head_dim",        "context",      "rope_theta",        "rms_norm_eps",  "activation",
    "sub_norms",    "tied_embeddings", "bos_token_id", "eos_token_ids",     "rope_divisors", "ffn_neurons",
};
#define CONFIG_KEY_COUNT (sizeof config_keys / sizeof config_keys[0])
#define REQUIRED_KEY_COUNT (CONFIG_KEY_COUNT - 2)

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

static int config_activation(const struct reading *reading, wf_config *config) {
    const struct json_node *node = json_member(&reading->json, 0, "activation");
    if (json_is_string(node, "relu2"))
        config->activation = WF_RELU_SQUARED;
    else if (json_is_string(node, "silu"))
        config->activation = WF_SILU;
    else
        return wf_container_fail(reading->container, "its config's activation must be \"relu2\" or \"silu\"");
    return 0;
}

/* Reads what the rotary frequencies are divided by: 1 where the configuration doesn't say. */
static int config_rope_divisors(const struct reading *reading, wf_config *config) {
    const struct json_node *list = json_member(&reading->json, 0, "rope_divisors");
    const uint32_t count = config->head_dim / 2;
    bool valid = list == NULL || (list->kind == JSON_ARRAY && list->length == count);
    for (uint32_t i = 0; valid && i < count; i++) {
        /* A value that is an array itself ends the loop, so elements stand side by side. */
        const struct json_node *node = list == NULL ? NULL : list + 1 + i;
        valid = node == NULL || (node->kind == JSON_NUMBER && node->as.number > 0 && node->as.number < WF_ROPE_DIVISOR_MAX);
        config->rope_divisors[i] = node != NULL && valid ? node->as.number : 1.0;
    }
    if (!valid) {
        return wf_container_fail(reading->container,
                                 "its config's rope_divisors must be an array of %" PRIu32 " numbers above 0 and below %d", count,
                                 WF_ROPE_DIVISOR_MAX);
    }
    return 0;
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
        config_positive(reading, "rope_theta", FLT_MAX, &config->rope_theta) != 0 || config_rope_divisors(reading, config) != 0 ||
        config_positive(reading, "rms_norm_eps", 1.0f, &config->rms_norm_eps) != 0 || config_activation(reading, config) != 0 ||
        config_boolean(reading, "sub_norms", &config->sub_norms) != 0 ||
        config_boolean(reading, "tied_embeddings", &config->tied_embeddings) != 0 || config_tokens(reading, config) != 0)
        return -1;
    if (config->heads % config->kv_heads != 0) {
        return wf_container_fail(reading->container, "its config's kv_heads %" PRIu32 " must divide its heads %" PRIu32,
                                 config->kv_heads, config->heads);
    }
    /* Rotary embeddings pair up a head's dimensions; the other two keep the rows' sizes at multiples of 64 bytes. */
    if (config->head_dim % 2 != 0 || config->hidden % 2 != 0 || config->intermediate % 2 != 0)
        return wf_container_fail(reading->container, "its config's head_dim, hidden_size and intermediate_size must be even");
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

/*
 * bind.c: which tensors make up a model, under which names and with which shapes.
 *
 * What is not looked at are the large matrices' values: reading 1.2 GB would take seconds where opening should take milliseconds, and no
 * value in them can lead a kernel out of bounds.
 */
#include "model/bind.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for the name of any part of a model that a configuration calls for, and for that of its tensor, which is longer. */
#define PART_BYTES 80U
#define NAME_BYTES 96U

/* A norm's element count in the file is a multiple of this, and a scale's is this. */
#define NORM_MULTIPLE 16U

/* A container that is being bound. */
struct binding {
    wf_container *container;
    wf_random_weights *random;
};

static uint64_t round_up(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/* Chooses the functions of a matrix that is described and has its rows, of the tensor or tensors `name`. */
static int bind_functions(const struct binding *binding, const char *name, wf_linear *linear) {
    return wf_linear_bind(linear) == 0 ? 0 : wf_container_fail(binding->container, "tensor %s is of a kind without kernels", name);
}

/* Finds or makes a matrix without scales of its own, whole rows of zeros at its end padding it to panels, or to a multiple of 64 bytes. */
static int bind_padded(const struct binding *binding, const char *name, wf_linear *linear) {
    const bool is_bf16 = linear->layout == WF_LAYOUT_BF16;
    const uint64_t row_bytes = wf_linear_row_bytes(linear->layout, linear->inputs, linear->group);
    linear->row_bytes = (uint32_t)row_bytes;
    uint64_t rows = wf_linear_rows(linear->layout, linear->outputs);
    while (rows * row_bytes % WF_ALIGNMENT != 0)
        rows++;
    uint8_t *bytes = wf_container_take(binding->container, name, is_bf16 ? WF_TYPE_BF16 : WF_TYPE_U8, rows,
                                       is_bf16 ? linear->inputs : row_bytes);
    if (bytes == NULL)
        return -1;
    linear->rows = bytes;
    if (binding->random != NULL && is_bf16)
        wf_random_bf16(binding->random, (uint16_t *)(void *)bytes, rows * linear->inputs);
    else if (binding->random != NULL)
        wf_random_groups(binding->random, bytes, rows, linear->inputs, linear->group);
    return bind_functions(binding, name, linear);
}

static int bind_dense(const struct binding *binding, const char *name, uint32_t outputs, uint32_t inputs, wf_linear *linear) {
    *linear = (wf_linear){
        .layout = WF_LAYOUT_BF16,
        .scale_kind = WF_SCALE_NONE,
        .input_kind = WF_INPUT_F32,
        .scale = 1.0f,
        .inputs = inputs,
        .outputs = outputs,
    };
    return bind_padded(binding, name, linear);
}

/* Finds a matrix with a row per token. */
static int bind_vocabulary(const struct binding *binding, const char *name, const wf_config *config, bool is_ternary,
                           wf_linear *linear) {
    if (!is_ternary)
        return bind_dense(binding, name, config->vocabulary, config->hidden, linear);
    *linear = (wf_linear){
        .layout = WF_LAYOUT_GROUPED,
        .scale_kind = WF_SCALE_GROUP,
        .input_kind = WF_INPUT_GROUPS,
        .scale = 1.0f,
        .group = config->scale_group,
        .inputs = config->hidden,
        .outputs = config->vocabulary,
    };
    return bind_padded(binding, name, linear);
}

/* Finds a norm of `count` values and checks them, padding included: they are few, and one NaN would silence the whole
 * model. */
static int bind_norm(const struct binding *binding, const char *name, uint32_t count, const float **norm) {
    const uint64_t padded = round_up(count, NORM_MULTIPLE);
    uint8_t *bytes = wf_container_take(binding->container, name, WF_TYPE_F32, padded, 0);
    if (bytes == NULL)
        return -1;
    float *values = (float *)(void *)bytes;
    for (uint32_t i = 0; binding->random != NULL && i < count; i++)
        values[i] = 1.0f;
    for (uint64_t i = 0; i < padded; i++) {
        if (!isfinite(values[i]))
            return wf_container_fail(binding->container, "tensor %s: its element %" PRIu64 " is not a finite number", name, i);
        if (i >= count && values[i] != 0.0f)
            return wf_container_fail(binding->container, "tensor %s: its padding from element %" PRIu32 " on is not zero", name,
                                     count);
    }
    *norm = values;
    return 0;
}

/* Finds the scale of a whole matrix in the tensor `name`, or makes it. */
static int bind_scale(const struct binding *binding, const char *name, float random_scale, float *scale) {
    uint8_t *bytes = wf_container_take(binding->container, name, WF_TYPE_F32, NORM_MULTIPLE, 0);
    if (bytes == NULL)
        return -1;
    if (binding->random != NULL)
        memcpy(bytes, &random_scale, sizeof random_scale);
    memcpy(scale, bytes, sizeof *scale);
    if (!isfinite(*scale) || *scale <= 0.0f)
        return wf_container_fail(binding->container, "tensor %s: its scale is %g; it must be finite and above 0", name,
                                 (double)*scale);
    return 0;
}

/* A ternary matrix of the model's kind, without its rows. */
static wf_linear describe_linear(const wf_config *config, uint32_t inputs, uint32_t outputs) {
    const bool has_groups = config->scales == WF_SCALE_GROUP;
    wf_linear linear = {
        .layout = has_groups ? WF_LAYOUT_GROUPED : WF_LAYOUT_TERNARY,
        .scale_kind = config->scales,
        .input_kind = has_groups ? WF_INPUT_GROUPS : WF_INPUT_INT8,
        .scale = 1.0f,
        .group = has_groups ? config->scale_group : 0,
        .inputs = inputs,
        .outputs = outputs,
    };
    linear.row_bytes = (uint32_t)wf_linear_row_bytes(linear.layout, inputs, linear.group);
    return linear;
}

/* Finds or makes the rows, <name>.weight, of `count` matrices of one kind that lie one behind the other. *random_scale is what made ones are
 * to be scaled by. */
static uint8_t *take_rows(const struct binding *binding, const char name[PART_BYTES], const wf_linear *linear, uint32_t count,
                          float *random_scale) {
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "%s.weight", name);
    const uint64_t rows = wf_linear_rows(linear->layout, linear->outputs) * count;
    uint8_t *bytes = wf_container_take(binding->container, full_name, WF_TYPE_U8, rows, linear->row_bytes);
    *random_scale = 1.0f;
    if (bytes != NULL && binding->random != NULL) {
        if (linear->layout == WF_LAYOUT_GROUPED)
            wf_random_groups(binding->random, bytes, rows, linear->inputs, linear->group);
        else
            *random_scale = wf_random_ternary(binding->random, bytes, rows, linear->inputs);
    }
    return bytes;
}

/* Finds a linear layer: its rows, its scales, and the norm of its inputs if it has one of its own. */
static int bind_linear(const struct binding *binding, const char name[PART_BYTES], const wf_config *config, uint32_t inputs,
                       uint32_t outputs, wf_linear *linear) {
    *linear = describe_linear(config, inputs, outputs);
    float random_scale;
    linear->rows = take_rows(binding, name, linear, 1, &random_scale);
    if (linear->rows == NULL)
        return -1;
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "%s.%s", name, config->scales == WF_SCALE_ROW ? "row_scales" : "weight_scale");
    if (config->scales == WF_SCALE_ROW) {
        if (bind_norm(binding, full_name, outputs, &linear->row_scales) != 0)
            return -1;
        linear->scale = random_scale;
    } else if (bind_scale(binding, full_name, random_scale, &linear->scale) != 0) {
        return -1;
    }
    snprintf(full_name, sizeof full_name, "%s.norm.weight", name);
    if (config->input_norms && bind_norm(binding, full_name, inputs, &linear->input_norm) != 0)
        return -1;
    return bind_functions(binding, name, linear);
}

/* Finds one of the three matrices of all experts of a layer: their rows one expert behind the other, and a scale for each expert or for each
 * row. `offset` is that of the matrix in wf_expert. */
static int bind_experts(const struct binding *binding, const char name[PART_BYTES], const wf_config *config, uint32_t inputs,
                        uint32_t outputs, wf_expert *experts, size_t offset) {
    const wf_linear described = describe_linear(config, inputs, outputs);
    float random_scale;
    const uint8_t *rows = take_rows(binding, name, &described, config->experts, &random_scale);
    if (rows == NULL)
        return -1;
    const bool by_row = config->scales == WF_SCALE_ROW;
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "%s.%s", name, by_row ? "row_scales" : "weight_scale");
    const float *scales;
    if (bind_norm(binding, full_name, config->experts * (by_row ? outputs : 1), &scales) != 0)
        return -1;
    for (uint32_t i = 0; i < config->experts; i++) {
        wf_linear *linear = (wf_linear *)(void *)((uint8_t *)&experts[i] + offset);
        *linear = described;
        linear->rows = rows + (size_t)i * wf_linear_rows(described.layout, outputs) * described.row_bytes;
        linear->row_scales = by_row ? scales + (size_t)i * outputs : NULL;
        linear->scale = by_row || binding->random != NULL ? random_scale : scales[i];
        if (linear->scale <= 0.0f)
            return wf_container_fail(binding->container, "tensor %s: the scale of expert %" PRIu32 " is %g; it must be above 0",
                                     full_name, i, (double)linear->scale);
        if (bind_functions(binding, name, linear) != 0)
            return -1;
    }
    return 0;
}

/* Finds a router's rows. */
static int bind_router(const struct binding *binding, const char name[PART_BYTES], const wf_config *config, wf_linear *router) {
    char full_name[NAME_BYTES];
    snprintf(full_name, sizeof full_name, "%s.weight", name);
    const uint32_t outputs = WF_ROUTER_PARTS * config->experts;
    return bind_dense(binding, full_name, outputs, config->hidden, router);
}

/* A part of a layer that has weights: a linear layer, or a norm. */
struct part {
    const char *name; /* behind the layer's */
    bool is_called_for;
    const float **norm; /* NULL: a linear layer */
    wf_linear *linear;
    uint32_t inputs; /* a norm's elements */
    uint32_t outputs;
};

/* Finds the router and the experts of one layer. */
static int bind_mixture(const struct binding *binding, const wf_config *config, uint32_t number, wf_layer *layer) {
    const struct {
        const char *name;
        size_t offset;
        uint32_t inputs, outputs;
    } matrices[] = {
        {"gate_proj", offsetof(wf_expert, gate), config->hidden, config->intermediate},
        {"up_proj", offsetof(wf_expert, up), config->hidden, config->intermediate},
        {"down_proj", offsetof(wf_expert, down), config->intermediate, config->hidden},
    };
    char name[PART_BYTES];
    snprintf(name, sizeof name, "model.layers.%" PRIu32 ".mlp.router", number);
    if (config->router == WF_ROUTER_SOFTMAX && bind_router(binding, name, config, &layer->router) != 0)
        return -1;
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        snprintf(name, sizeof name, "model.layers.%" PRIu32 ".mlp.experts.%s", number, matrices[i].name);
        if (bind_experts(binding, name, config, matrices[i].inputs, matrices[i].outputs, layer->experts, matrices[i].offset) != 0)
            return -1;
    }
    return 0;
}

/* Finds all tensors of one layer. A part that the configuration doesn't call for stays NULL, and whoever computes leaves it out. */
static int bind_layer(const struct binding *binding, const wf_config *config, uint32_t number, wf_layer *layer) {
    const uint32_t hidden = config->hidden, neurons = config->ffn_neurons[number];
    const uint32_t heads = config->heads * config->head_dim, kv_heads = config->kv_heads * config->head_dim;
    const bool has_experts = config->experts > 0;
    const struct part parts[] = {
        {"input_layernorm.weight", true, &layer->input_norm, NULL, hidden, 0},
        {"self_attn.q_proj", true, NULL, &layer->query, hidden, heads},
        {"self_attn.k_proj", true, NULL, &layer->key, hidden, kv_heads},
        {"self_attn.v_proj", true, NULL, &layer->value, hidden, kv_heads},
        {"self_attn.q_norm.weight", config->qk_norms, &layer->query_norm, NULL, config->head_dim, 0},
        {"self_attn.k_norm.weight", config->qk_norms, &layer->key_norm, NULL, config->head_dim, 0},
        {"self_attn.o_proj", true, NULL, &layer->output, heads, hidden},
        {"attention_post_norm.weight", config->post_norms, &layer->attention_post_norm, NULL, hidden, 0},
        {"post_attention_layernorm.weight", true, &layer->post_attention_norm, NULL, hidden, 0},
        {"mlp.gate_proj", config->is_gated && !has_experts, NULL, &layer->gate, hidden, neurons},
        {"mlp.up_proj", !has_experts, NULL, &layer->up, hidden, neurons},
        {"mlp.down_proj", !has_experts, NULL, &layer->down, neurons, hidden},
        {"self_attn.attn_sub_norm.weight", config->sub_norms, &layer->attention_sub_norm, NULL, heads, 0},
        {"ffn_post_norm.weight", config->post_norms, &layer->ffn_post_norm, NULL, hidden, 0},
        {"mlp.ffn_sub_norm.weight", config->sub_norms, &layer->ffn_sub_norm, NULL, neurons, 0},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const struct part *part = &parts[i];
        char name[PART_BYTES];
        if (!part->is_called_for)
            continue;
        snprintf(name, sizeof name, "model.layers.%" PRIu32 ".%s", number, part->name);
        const int result = part->norm != NULL ? bind_norm(binding, name, part->inputs, part->norm)
                                              : bind_linear(binding, name, config, part->inputs, part->outputs, part->linear);
        if (result != 0)
            return -1;
    }
    if (has_experts && bind_mixture(binding, config, number, layer) != 0)
        return -1;
    if (binding->random != NULL && layer->gate.rows != NULL && layer->gate.layout == WF_LAYOUT_TERNARY)
        wf_random_silence(binding->random, (uint8_t *)(uintptr_t)layer->gate.rows, layer->gate.outputs, layer->gate.row_bytes);
    return 0;
}

int wf_bind(wf_container *container, wf_random_weights *random, wf_model *model) {
    const struct binding binding = {container, random};
    const wf_config *config = &model->config;
    if (bind_vocabulary(&binding, "model.embed_tokens.weight", config, config->ternary_embedding, &model->embedding) != 0)
        return -1;
    model->head = model->embedding;
    if (!config->tied_embeddings && bind_vocabulary(&binding, "lm_head.weight", config, config->ternary_head, &model->head) != 0)
        return -1;
    model->layers = calloc(config->layers, sizeof *model->layers);
    if (config->experts > 0)
        model->experts = calloc((size_t)config->layers * config->experts, sizeof *model->experts);
    if (model->layers == NULL || (config->experts > 0 && model->experts == NULL))
        return wf_container_fail(container, "no memory left for its %" PRIu32 " layers", config->layers);
    for (uint32_t i = 0; i < config->layers && config->experts > 0; i++)
        model->layers[i].experts = model->experts + (size_t)i * config->experts;
    for (uint32_t i = 0; i < config->layers; i++)
        if (bind_layer(&binding, config, i, &model->layers[i]) != 0)
            return -1;
    if (bind_norm(&binding, "model.norm.weight", config->hidden, &model->final_norm) != 0)
        return -1;
    return wf_container_refuse_rest(container);
}

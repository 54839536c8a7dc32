/*
 * model_test.c: opens packed files that are right, and damages them in every way that a stranger or a broken disk
 * might: model_test [ROUNDS [SEED]] damages more of them.
 *
 * Images are built in memory from a recipe (image.h). A damaged one must either be refused with one line, or open to a
 * model whose every pointer still lies in its mapping: check_model walks all of them, the model computes a few tokens, and the sanitizers
 * watch. Opening takes memory for little more than what the file has, whatever its numbers say.
 */
#include "model/model.h"

#include "check.h"
#include "image.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ERROR_BYTES 512U

static const struct recipe plain = {37, 64, 96, 2, 4, 2, 16, true, true, false, NULL, NULL};
static const struct recipe untied = {40, 130, 258, 1, 3, 1, 100, false, false, true, NULL, NULL};
static const struct recipe small = {32, 32, 32, 1, 1, 1, 2, true, false, false, NULL, NULL};

/* Rounds of random damage unless the command line has a number. */
#define ROUNDS 8000U

/* Memory that opening may take for each byte of a file, and for any file. A value of the header is a node of 32 bytes, and may be one
 * digit and a comma; the layers of a configuration are counted before their tensors are missed. */
#define MEMORY_PER_BYTE 64U
#define MEMORY_LEAST (2U << 20)

static size_t memory_taken;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_malloc(size_t size) {
    memory_taken += size;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    memory_taken += count * size;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    memory_taken += size;
    return __real_realloc(memory, size);
}

/* Sums a range's first and last bytes after checking that it lies in the mapping. */
static uint32_t check_range(const struct wf_model *model, const void *start, uint64_t size, const char *what) {
    const uint64_t offset = (uint64_t)((uintptr_t)start - (uintptr_t)model->mapping.bytes);
    const bool inside = start != NULL && size > 0 && offset <= model->mapping.size && size <= model->mapping.size - offset;
    CHECK(inside && offset % WF_ALIGNMENT == 0, "%s at %" PRIu64 ", %" PRIu64 " bytes", what, offset, size);
    return inside ? (uint32_t)model->mapping.bytes[offset] + model->mapping.bytes[offset + size - 1] : 0;
}

static void check_linear(const struct wf_model *model, const wf_linear *linear, uint32_t inputs, uint32_t outputs) {
    CHECK(linear->inputs == inputs && linear->outputs == outputs, "a linear layer of %u x %u", linear->outputs, linear->inputs);
    CHECK(linear->row_bytes == wf_packed_row_bytes(inputs), "a linear layer's row bytes: %u", linear->row_bytes);
    CHECK(isfinite(linear->scale) && linear->scale > 0.0F, "a scale of %g", (double)linear->scale);
    check_range(model, linear->rows, (uint64_t)linear->outputs * linear->row_bytes, "a linear layer");
}

/* Checks everything that later code takes for granted. */
static void check_model(const struct wf_model *model) {
    const wf_config *config = &model->config;
    CHECK(config->vocabulary >= 1 && config->hidden >= 2 && config->layers >= 1 && config->context >= 1, "empty sizes");
    CHECK(config->kv_heads >= 1 && config->heads % config->kv_heads == 0 && config->head_dim % 2 == 0, "odd heads");
    CHECK(config->rms_norm_eps > 0.0F && config->rope_theta > 0.0F && isfinite(config->rope_theta), "odd numbers");
    CHECK(config->bos_token_id < config->vocabulary || config->bos_token_id == WF_NO_TOKEN, "bos %u", config->bos_token_id);
    CHECK(config->eos_count <= WF_EOS_TOKENS_MAX, "%u eos tokens", config->eos_count);
    for (uint32_t i = 0; i < config->eos_count; i++) {
        CHECK(config->eos_token_ids[i] < config->vocabulary, "eos %u", config->eos_token_ids[i]);
    }
    const uint32_t attention = config->heads * config->head_dim;
    const uint32_t kv = config->kv_heads * config->head_dim;
    const uint64_t norm = ((uint64_t)config->hidden + 15) / 16 * 64;
    check_range(model, model->embedding.rows, (uint64_t)config->vocabulary * config->hidden * 2, "the embedding");
    check_range(model, model->head.rows, (uint64_t)config->vocabulary * config->hidden * 2, "the head");
    CHECK((model->head.rows == model->embedding.rows) == config->tied_embeddings, "tied or not");
    check_range(model, model->final_norm, norm, "the final norm");
    for (uint32_t i = 0; i < config->layers; i++) {
        const wf_layer *layer = &model->layers[i];
        check_range(model, layer->input_norm, norm, "an input norm");
        check_range(model, layer->post_attention_norm, norm, "a post-attention norm");
        check_linear(model, &layer->query, config->hidden, attention);
        check_linear(model, &layer->key, config->hidden, kv);
        check_linear(model, &layer->value, config->hidden, kv);
        check_linear(model, &layer->output, attention, config->hidden);
        check_linear(model, &layer->gate, config->hidden, config->intermediate);
        check_linear(model, &layer->up, config->hidden, config->intermediate);
        check_linear(model, &layer->down, config->intermediate, config->hidden);
        if (config->sub_norms) {
            check_range(model, layer->attention_sub_norm, ((uint64_t)attention + 15) / 16 * 64, "an attention sub-norm");
            check_range(model, layer->ffn_sub_norm, ((uint64_t)config->intermediate + 15) / 16 * 64, "an ffn sub-norm");
        } else {
            CHECK(layer->attention_sub_norm == NULL && layer->ffn_sub_norm == NULL, "sub-norms where there are none");
        }
    }
}

/* Computes the logits of a few tokens, whatever they are: the weights may be any. */
static void run(wf_model *model) {
    static const uint32_t tokens[] = {0, 1, 0};
    const uint32_t count = model->config.context < 3 || model->config.vocabulary < 2 ? 1 : 3;
    float *logits = need(malloc((size_t)count * model->config.vocabulary * sizeof *logits));
    char error[ERROR_BYTES];
    CHECK(wf_model_logits(model, 1, tokens, count, logits, error, ERROR_BYTES) == 0, "a damaged model: %s", error);
    free(logits);
}

/* Opens bytes that may be damaged: a line or a sound model. Returns whether they opened. */
static bool survive(const uint8_t *bytes, size_t size, const char *what) {
    char error[ERROR_BYTES];
    memset(error, 'x', sizeof error);
    memory_taken = 0;
    wf_model *model = wf_model_open_bytes(bytes, size, "damaged.wf", error, ERROR_BYTES);
    CHECK(memory_taken <= MEMORY_PER_BYTE * size + MEMORY_LEAST, "%s: %zu bytes took %zu", what, size, memory_taken);
    if (model == NULL) {
        CHECK(check_is_line(error, ERROR_BYTES) && strncmp(error, "damaged.wf: ", 12) == 0, "%s: %.100s", what, error);
        return false;
    }
    check_model(model);
    run(model);
    wf_model_close(model);
    return true;
}

/* Expects a refusal whose line holds `fault`; frees the image. */
static void refuse(struct image *image, const char *fault) {
    char error[ERROR_BYTES] = "";
    wf_model *model = wf_model_open_bytes(image->bytes, image->size, "some/model.wf", error, ERROR_BYTES);
    CHECK(model == NULL, "opened in spite of: %s", fault);
    CHECK(check_is_line(error, ERROR_BYTES) && strncmp(error, "some/model.wf: ", 15) == 0, "expected \"%s\": %s", fault, error);
    CHECK(strstr(error, fault) != NULL, "expected \"%s\": %s", fault, error);
    wf_model_close(model);
    image_drop(image);
}

/* The same for the plain image with one text of its header replaced. */
static void refuse_edit(const char *from, const char *to, const char *fault) {
    struct image *image = image_build(&plain);
    image_replace(image, from, to);
    refuse(image, fault);
}

static void test_valid(void) {
    const struct recipe *const recipes[] = {&plain, &untied, &small};
    for (size_t i = 0; i < 3; i++) {
        struct image *image = image_build(recipes[i]);
        char error[ERROR_BYTES] = "";
        wf_model *model = wf_model_open_bytes(image->bytes, image->size, "valid.wf", error, ERROR_BYTES);
        CHECK(model != NULL, "recipe %zu: %s", i, error);
        if (model != NULL) {
            check_model(model);
            const wf_config *config = &model->config;
            CHECK(strcmp(config->architecture, "TestForCausalLM") == 0, "%s", config->architecture);
            CHECK(config->vocabulary == recipes[i]->vocabulary && config->hidden == recipes[i]->hidden, "sizes");
            CHECK(config->intermediate == recipes[i]->intermediate && config->layers == recipes[i]->layers, "sizes");
            CHECK(config->heads == recipes[i]->heads && config->kv_heads == recipes[i]->kv_heads, "heads");
            CHECK(config->head_dim == recipes[i]->head_dim && config->context == 256, "head_dim, context");
            CHECK(config->rope_theta == 500000.0F && config->rms_norm_eps == 1e-5F, "numbers");
            CHECK(config->activation == (recipes[i]->silu ? WF_SILU : WF_RELU_SQUARED), "activation");
            CHECK(config->bos_token_id == 1 && config->eos_count == 2, "tokens");
            CHECK(config->eos_token_ids[0] == 2 && config->eos_token_ids[1] == 3, "end tokens");
            const size_t query = image_find(image, "model.layers.0.self_attn.q_proj.weight_scale");
            CHECK(model->layers[0].query.scale == 0.5F + (float)query, "scale %g", (double)model->layers[0].query.scale);
            const size_t down = image_find(image, "model.layers.0.mlp.down_proj.weight");
            const size_t data_start = image->size - image->data_size;
            CHECK(model->layers[0].down.rows == model->mapping.bytes + data_start + image->tensors[down].begin, "down's place");
            CHECK(strcmp(model->name, "valid.wf") == 0, "name");
        }
        wf_model_close(model);
        image_drop(image);
    }
    wf_model_close(NULL);

    /* A null bos, no end token, further assets, spaces around values. */
    struct image *image = image_build(&plain);
    image_replace(image, "\\\"bos_token_id\\\":1", "\\\"bos_token_id\\\": null ");
    image_replace(image, "[2,3]", "[ ]");
    image_replace(image, "assets/tokenizer.json", "assets/\\u00e9.json");
    CHECK(survive(image->bytes, image->size, "null bos"), "a null bos, no end token");
    image_drop(image);
}

static void test_config(void) {
    static const struct {
        const char *from, *to, *fault;
    } edits[] = {
        {"\"wrinklefree\"", "\"pt\"", "no format \"wrinklefree\""},
        {"\"__metadata__\"", "\"metadata\"", "no format \"wrinklefree\""},
        {"\"version\":\"2\"", "\"version\":\"3\"", "made by a newer version of wrinklefree: version 3, this one reads 2"},
        {"\"version\":\"2\"", "\"version\":\"999999999\"", "made by a newer version of wrinklefree: version 999999999"},
        {"\"version\":\"2\"", "\"version\":\"1\"", "made by an older version of wrinklefree: version 1, this one reads 2; convert"},
        {"\"version\":\"2\"", "\"version\":\"0\"", "version \"0\" is invalid"},
        {"\"version\":\"2\"", "\"version\":\"-1\"", "version \"-1\" is invalid"},
        {"\"version\":\"2\"", "\"version\":\"\"", "version \"\" is invalid"},
        {"\"version\":\"2\"", "\"version\":1", "has no version"},
        {"\"config\":", "\"configuration\":", "has no config"},
        {"\"config\":\"{", "\"config\":\"[", "its config is not valid JSON: at byte"},
        {"\\\"architecture\\\":", "\\\"arch\\\":", "no \"architecture\""},
        {"\\\"context\\\":256,", "", "no \"context\""},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"qk_norm\\\":true", "unknown key \"qk_norm\""},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"context\\\":256", "two entries named \"context\""},
        {"\\\"TestForCausalLM\\\"", "7", "architecture must be"},
        {"TestForCausalLM", "", "architecture must be"},
        {"\\\"vocab_size\\\":37", "\\\"vocab_size\\\":0", "vocab_size must be an integer from 1 to 16777216"},
        {"\\\"vocab_size\\\":37", "\\\"vocab_size\\\":16777217", "vocab_size must be"},
        {"\\\"vocab_size\\\":37", "\\\"vocab_size\\\":2", "eos_token_ids must be"},
        {"\\\"vocab_size\\\":37", "\\\"vocab_size\\\":31",
         "tensor model.embed_tokens.weight is BF16 [37, 64], but the config calls for"},
        {"\\\"hidden_size\\\":64", "\\\"hidden_size\\\":65538", "hidden_size must be"},
        {"\\\"hidden_size\\\":64", "\\\"hidden_size\\\":64.0", "hidden_size must be"},
        {"\\\"hidden_size\\\":64", "\\\"hidden_size\\\":\\\"64\\\"", "hidden_size must be"},
        {"\\\"hidden_size\\\":64", "\\\"hidden_size\\\":-64", "hidden_size must be"},
        {"\\\"hidden_size\\\":64", "\\\"hidden_size\\\":63", "must be even"},
        {"\\\"hidden_size\\\":64", "\\\"hidden_size\\\":4294967360", "hidden_size must be"},
        {"\\\"hidden_size\\\":64", "\\\"hidden_size\\\":62", "tensor model.embed_tokens.weight"},
        {"\\\"intermediate_size\\\":96", "\\\"intermediate_size\\\":98", "tensor model.layers.0.mlp.gate_proj.weight"},
        {"\\\"intermediate_size\\\":96", "\\\"intermediate_size\\\":[96]", "intermediate_size must be"},
        {"\\\"layers\\\":2", "\\\"layers\\\":3", "tensor model.layers.2.input_layernorm.weight is missing"},
        {"\\\"layers\\\":2", "\\\"layers\\\":1", "tensor model.layers.1."},
        {"\\\"layers\\\":2", "\\\"layers\\\":1025", "layers must be"},
        {"\\\"layers\\\":2", "\\\"layers\\\":1024", "tensor model.layers.2.input_layernorm.weight is missing"},
        {"\\\"heads\\\":4", "\\\"heads\\\":5", "kv_heads 2 must divide its heads 5"},
        {"\\\"heads\\\":4", "\\\"heads\\\":8",
         "tensor model.layers.0.self_attn.q_proj.weight is U8 [64, 32], but the config calls for U8 [128, 32]"},
        {"\\\"kv_heads\\\":2", "\\\"kv_heads\\\":0", "kv_heads must be"},
        {"\\\"kv_heads\\\":2", "\\\"kv_heads\\\":4", "tensor model.layers.0.self_attn.k_proj.weight"},
        {"\\\"head_dim\\\":16", "\\\"head_dim\\\":1026", "head_dim must be"},
        {"\\\"head_dim\\\":16", "\\\"head_dim\\\":15", "must be even"},
        {"\\\"context\\\":256", "\\\"context\\\":0", "context must be"},
        {"\\\"context\\\":256", "\\\"context\\\":16777217", "context must be"},
        {"\\\"rope_theta\\\":500000", "\\\"rope_theta\\\":0", "rope_theta must be a number above 0"},
        {"\\\"rope_theta\\\":500000", "\\\"rope_theta\\\":1e300", "rope_theta must be"},
        {"\\\"rope_theta\\\":500000", "\\\"rope_theta\\\":1e999", "a number out of range"},
        {"\\\"rope_theta\\\":500000", "\\\"rope_theta\\\":null", "rope_theta must be"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"rope_divisors\\\":[1,1,1,1,1,1,1]",
         "rope_divisors must be an array of 8 numbers"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"rope_divisors\\\":[1,1,1,1,1,1,1,0]", "rope_divisors must be"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"rope_divisors\\\":[1,1,1,1,1,1,1,1e6]", "rope_divisors must be"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"rope_divisors\\\":[[1],1,1,1,1,1,1,1]", "rope_divisors must be"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"rope_divisors\\\":null", "rope_divisors must be"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"original_context\\\":64",
         "one of original_context and rope_long_divisors without the other"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"rope_long_divisors\\\":[1,1,1,1,1,1,1,1]", "without the other"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"original_context\\\":257,\\\"rope_long_divisors\\\":[1,1,1,1,1,1,1,1]",
         "original_context must be an integer from 1 to 256"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"original_context\\\":64,\\\"rope_long_divisors\\\":[1,1,1,1,1,1,1,0]",
         "rope_long_divisors must be an array of 8 numbers"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"ffn_neurons\\\":[96]",
         "ffn_neurons must be an array of 2 even integers from 2 to 96"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"ffn_neurons\\\":[96,98]", "ffn_neurons must be"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"ffn_neurons\\\":[96,0]", "ffn_neurons must be"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"ffn_neurons\\\":[96,95]", "ffn_neurons must be"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"ffn_neurons\\\":[[96],96]", "ffn_neurons must be"},
        {"\\\"context\\\":256", "\\\"context\\\":256,\\\"ffn_neurons\\\":[96,64]",
         "tensor model.layers.1.mlp.gate_proj.weight is U8 [96, 32], but the config calls for U8 [64, 32]"},
        {"0.00001", "1", "rms_norm_eps must be a number above 0 and below 1"},
        {"0.00001", "-0.00001", "rms_norm_eps must be"},
        {"0.00001", "1e-60", "rms_norm_eps must be"},
        {"\\\"relu2\\\"", "\\\"gelu\\\"", "activation must be"},
        {"\\\"sub_norms\\\":true", "\\\"sub_norms\\\":1", "sub_norms must be true or false"},
        {"\\\"sub_norms\\\":true", "\\\"sub_norms\\\":false", "_sub_norm.weight is not one that the config calls for"},
        {"\\\"tied_embeddings\\\":true", "\\\"tied_embeddings\\\":false", "tensor lm_head.weight is missing"},
        {"\\\"bos_token_id\\\":1", "\\\"bos_token_id\\\":37", "bos_token_id must be null or an integer from 0 to 36"},
        {"\\\"bos_token_id\\\":1", "\\\"bos_token_id\\\":4294967295", "bos_token_id must be"},
        {"[2,3]", "2", "eos_token_ids must be an array"},
        {"[2,3]", "[2,37]", "eos_token_ids must be"},
        {"[2,3]", "[[2],3]", "eos_token_ids must be"},
        {"[2,3]", "[2,-3]", "eos_token_ids must be"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        refuse_edit(edits[i].from, edits[i].to, edits[i].fault);
    }
    char many[512] = "[0";
    for (size_t i = 0; i < WF_EOS_TOKENS_MAX; i++) {
        strcat(many, ",1");
    }
    strcat(many, "]");
    refuse_edit("[2,3]", many, "an array of at most 64 integers");
}

static void test_tensors(void) {
    /* The plain image's first tensor is the embedding, BF16 [37, 64] at [0, 4736]; the next an input norm, F32 [64]. */
    static const struct {
        const char *from, *to, *fault;
    } edits[] = {
        {"\"BF16\"", "\"F16\"", "tensor model.embed_tokens.weight: its dtype must be U8, BF16 or F32"},
        {"\"BF16\"", "16", "tensor model.embed_tokens.weight: its dtype"},
        {"\"BF16\"", "\"F32\"", "tensor model.embed_tokens.weight: its data_offsets [0, 4736] disagree with the 9472 bytes"},
        {"\"BF16\",\"shape\":[37,64]", "\"F32\",\"shape\":[37,32]", "is F32 [37, 32], but the config calls for BF16 [37, 64]"},
        {"[37,64]", "[64,37]", "is BF16 [64, 37], but the config calls for BF16 [37, 64]"},
        {"[37,64]", "[2368]", "is BF16 [2368], but the config calls for BF16 [37, 64]"},
        {"[37,64]", "[37,64,1]", "its shape must be"},
        {"[37,64]", "[]", "its shape must be"},
        {"[37,64]", "\"37\"", "its shape must be"},
        {"[37,64]", "[37,-64]", "its shape must be"},
        {"[37,64]", "[37,6.4e1]", "its shape must be"},
        {"[37,64]", "[[37],64]", "its shape must be"},
        {"[37,64]", "[9007199254740991,9007199254740991]", "its shape is too large"},
        {"[37,64]", "[99999999999999999999,64]", "its shape must be"},
        {"[0,4736]", "[0,4800]", "disagree with the 4736 bytes"},
        {"[0,4736]", "[64,4800]", "begins at offset 64, but the tensors before it end at 0 (a gap)"},
        {"[4736,4992]", "[4672,4928]",
         "tensor model.layers.0.input_layernorm.weight: it begins at offset 4672, but the tensors before it "
         "end at 4736 (an overlap)"},
        {"[0,4736]", "[0]", "its data_offsets must be two integers"},
        {"[0,4736]", "[[],0]", "its data_offsets must be two integers"},
        {"[0,4736]", "[0,-1]", "its data_offsets must be two integers"},
        {"[0,4736]", "[0,18446744073709551615]", "its data_offsets must be two integers"},
        {"[0,4736]", "[4736,0]", "begins at offset 4736"},
        {",\"data_offsets\":[0,4736]", "", "its entry must be an object of dtype, shape and data_offsets"},
        {"\"data_offsets\":[0,4736]", "\"offsets\":[0,4736]", "its data_offsets must be two integers"},
        {"\"dtype\":\"BF16\"", "\"type\":\"BF16\"", "its dtype must be"},
        {"\"shape\":[37,64]", "\"size\":[37,64]", "its shape must be"},
        {"{\"dtype\":\"BF16\",\"shape\":[37,64],\"data_offsets\":[0,4736]}", "null", "its entry must be an object"},
        {"model.embed_tokens.weight", "model.embed.weight", "tensor model.embed_tokens.weight is missing"},
        {"layers.1.mlp.up_proj.weight\"", "layers.1.mlp.gate_proj.weight\"",
         "two entries named \"model.layers.1.mlp.gate_proj.weight\""},
        {"layers.1.mlp.up_proj.weight\"", "layers.1.mlp.gate_pro\\u006a.weight\"", "two entries named"},
        {"assets/tokenizer.json", "assets/", "tensor assets/ is not one that the config calls for"},
        {"assets/tokenizer.json", "tokenizer.json", "tensor tokenizer.json is not one that the config calls for"},
        {"assets/tokenizer.json", "evil\\u000aname\\u001b[2J", "tensor evil?name?[2J is not one"},
        {"\"assets/tokenizer.json\":{\"dtype\":\"U8\",\"shape\":[128]",
         "\"assets/tokenizer.json\":{\"dtype\":\"U8\",\"shape\":[2,64]", "an asset must be U8 of one dimension"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        refuse_edit(edits[i].from, edits[i].to, edits[i].fault);
    }

    /* Each tensor left out is the one that is missed. */
    struct image *whole = image_build(&plain);
    for (uint32_t i = 0; i + 1 < whole->tensor_count; i++) {
        struct recipe recipe = plain;
        recipe.without = whole->tensors[i].name;
        char fault[128];
        snprintf(fault, sizeof fault, "tensor %s is missing", recipe.without);
        refuse(image_build(&recipe), fault);
    }
    image_drop(whole);

    /* Tensors that are sound in themselves and lie where they should, but are not what the configuration calls for. */
    static const struct {
        struct alteration altered;
        const char *fault;
    } alterations[] = {
        {{"model.norm.weight", "U8", 1, 64, 0, false}, "tensor model.norm.weight is U8 [64], but the config calls for F32 [64]"},
        {{"model.norm.weight", "F32", 4, 64, 0, true}, "tensor model.norm.weight is F32 [64, 0], but the config calls for"},
        {{"model.norm.weight", "F32", 4, 64, 1, true}, "tensor model.norm.weight is F32 [64, 1], but the config calls for"},
        {{"model.norm.weight", "F32", 4, 48, 0, false}, "tensor model.norm.weight is F32 [48], but the config calls for"},
        {{"model.layers.1.mlp.down_proj.weight", "U8", 1, 64, 64, true}, "is U8 [64, 64], but the config calls for U8 [64, 32]"},
        {{"model.layers.1.mlp.down_proj.weight", "U8", 1, 128, 32, true}, "is U8 [128, 32], but the config calls for U8 [64, 32]"},
        {{"model.layers.1.mlp.down_proj.weight_scale", "F32", 4, 0, 0, false}, "is F32 [0], but the config calls for F32 [16]"},
        {{"model.embed_tokens.weight", "BF16", 2, 38, 64, true}, "is BF16 [38, 64], but the config calls for BF16 [37, 64]"},
        {{"assets/tokenizer.json", "U8", 1, 100, 0, false}, "tensor assets/tokenizer.json: its 100 bytes are not a multiple of 64"},
    };
    for (size_t i = 0; i < sizeof alterations / sizeof alterations[0]; i++) {
        struct recipe recipe = plain;
        recipe.altered = &alterations[i].altered;
        refuse(image_build(&recipe), alterations[i].fault);
    }

    /* Values. */
    static const float bad[] = {0.0F, -1.0F, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++) {
        struct image *image = image_build(&plain);
        image_set_float(image, "model.layers.1.mlp.down_proj.weight_scale", 0, bad[i]);
        refuse(image, "tensor model.layers.1.mlp.down_proj.weight_scale: its scale is ");
    }
    struct image *image = image_build(&plain);
    image_set_float(image, "model.norm.weight", 63, NAN);
    refuse(image, "tensor model.norm.weight: its element 63 is not a finite number");
    image = image_build(&untied);
    image_set_float(image, "model.layers.0.input_layernorm.weight", 130, 1.0F);
    refuse(image, "tensor model.layers.0.input_layernorm.weight: its padding from element 130 on is not zero");
}

static void test_sizes(void) {
    struct image *image = image_build(&plain);
    const size_t data_start = image->size - image->data_size;
    char expected[128];

    /* Truncation: every length of the header, then around every tensor's ends and in between. */
    for (size_t size = 0; size < image->size; size++) {
        bool interesting = size <= data_start + 70 || size % 61 == 0 || size + 70 > image->size;
        for (uint32_t i = 0; !interesting && i < image->tensor_count; i++) {
            const size_t begin = data_start + image->tensors[i].begin;
            interesting = size + 1 >= begin && size <= begin + 1;
        }
        if (!interesting) {
            continue;
        }
        /* A copy of exactly this size, so that reading past it shows. */
        uint8_t *cut = need(malloc(size + 1));
        char error[ERROR_BYTES] = "";
        memcpy(cut, image->bytes, size);
        wf_model *model = wf_model_open_bytes(cut, size, "cut.wf", error, ERROR_BYTES);
        CHECK(model == NULL && check_is_line(error, ERROR_BYTES), "cut to %zu bytes: %s", size, error);
        if (size >= 8) {
            snprintf(expected, sizeof expected, "%zu", size);
            CHECK(strstr(error, "cut.wf: is truncated: ") != NULL && strstr(error, expected) != NULL, "%zu: %s", size, error);
            snprintf(expected, sizeof expected, "%zu", size < data_start ? data_start : image->size);
            CHECK(strstr(error, expected) != NULL, "cut to %zu bytes, expected %s: %s", size, expected, error);
        }
        wf_model_close(model);
        free(cut);
    }

    /* Bytes too many. */
    uint8_t *longer = need(calloc(image->size + 64, 1));
    memcpy(longer, image->bytes, image->size);
    char error[ERROR_BYTES] = "";
    CHECK(wf_model_open_bytes(longer, image->size + 64, "long.wf", error, ERROR_BYTES) == NULL, "64 bytes too many");
    CHECK(strstr(error, "has 64 bytes after its last tensor") != NULL, "%s", error);
    free(longer);

    /* The header's length. */
    static const uint64_t lengths[] = {
        0, 1, 2, 7, 8, 63, 64, 100000000, 100000001, 0x8000000000000000U, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        memcpy(image->bytes, &lengths[i], 8);
        CHECK(!survive(image->bytes, image->size, "a header's length"), "length %" PRIu64, lengths[i]);
    }
    const uint64_t huge = 0x46554747U | (uint64_t)3 << 32; /* "GGUF", version 3 */
    memcpy(image->bytes, &huge, 8);
    refuse(image, "is no packed model (.wf)");

    /* A header whose end is not aligned. */
    image = image_build(&plain);
    uint64_t length;
    memcpy(&length, image->bytes, 8);
    length += 8;
    uint8_t *shifted = need(malloc(image->size + 8));
    memcpy(shifted, &length, 8);
    memcpy(shifted + 8, image->bytes + 8, (size_t)length - 8);
    memset(shifted + length, ' ', 8);
    memcpy(shifted + 8 + length, image->data, image->data_size);
    CHECK(wf_model_open_bytes(shifted, image->size + 8, "shifted.wf", error, ERROR_BYTES) == NULL, "a shifted header");
    CHECK(strstr(error, "which is not a multiple of 64") != NULL, "%s", error);
    free(shifted);

    /* Offsets near the ends of 64 bits can't be written exactly and those near 2^53 are past the file. */
    image_replace(image, "\"assets/tokenizer.json\":{\"dtype\":\"U8\",\"shape\":[128]",
                  "\"assets/x\":{\"dtype\":\"U8\",\"shape\":[9007199254740864]");
    char from[64];
    char to[64];
    const size_t begin = image->tensors[image->tensor_count - 1].begin;
    snprintf(from, sizeof from, "[%zu,%zu]}}", begin, begin + 128);
    snprintf(to, sizeof to, "[%zu,9007199254740928]}}", begin);
    image_replace(image, from, to);
    snprintf(from, sizeof from, "9007199254740864");
    snprintf(to, sizeof to, "%" PRIu64, (uint64_t)9007199254740928U - begin);
    image_replace(image, from, to);
    refuse(image, "is truncated: its header describes 90071992547");
}

/* Every bit of the header once. */
static void test_every_bit(void) {
    struct image *image = image_build(&small);
    const size_t header_size = image->size - image->data_size;
    uint8_t *damaged = need(malloc(image->size));
    size_t opened = 0;
    memcpy(damaged, image->bytes, image->size);
    for (size_t bit = 0; bit < header_size * 8; bit++) {
        damaged[bit / 8] = (uint8_t)(damaged[bit / 8] ^ 1U << (bit % 8));
        opened += survive(damaged, image->size, "one bit") ? 1 : 0;
        damaged[bit / 8] = image->bytes[bit / 8];
    }
    /* A flipped letter in the source's name, the case of an asset's name and the like change nothing that matters. */
    CHECK(opened > 0 && opened < header_size, "%zu of %zu single flips opened", opened, header_size * 8);
    free(damaged);
    image_drop(image);
}

/* Damages a file at random, most of it in the header. */
static void test_random_damage(const struct recipe *recipe, uint32_t rounds, uint64_t seed) {
    struct image *image = image_build(recipe);
    const size_t header_size = image->size - image->data_size;
    uint8_t *damaged = need(malloc(image->size * 2));

    /* Several bytes at once: replaced by bytes that mean something in JSON, moved, doubled, or removed. */
    static const char meaningful[] = "{}[]\",:\\0123456789-+.eEu\0 \xff\xc2";
    struct check_random random = {.state = seed};
    for (uint32_t round = 0; round < rounds; round++) {
        memcpy(damaged, image->bytes, image->size);
        size_t size = image->size;
        const uint64_t edits = 1 + check_below(&random, 4);
        for (uint64_t edit = 0; edit < edits; edit++) {
            const size_t reach = check_below(&random, 4) == 0 ? size - 24 : header_size;
            const size_t at = (size_t)check_below(&random, reach);
            const size_t length = (size_t)check_below(&random, 24);
            switch (check_below(&random, 6)) {
            case 0:
                damaged[at] = (uint8_t)meaningful[check_below(&random, sizeof meaningful - 1)];
                break;
            case 1: {
                const size_t from = (size_t)check_below(&random, header_size);
                memmove(damaged + at, damaged + from, length);
                break;
            }
            case 2:
                memmove(damaged + at + length, damaged + at, length);
                break;
            case 3:
                damaged[at] = (uint8_t)check_next(&random);
                break;
            case 4:
                /* A digit for a digit: the header is JSON as before, and the fault lies deeper. */
                for (size_t i = at; i < reach; i++) {
                    if (damaged[i] >= '0' && damaged[i] <= '9') {
                        damaged[i] = (uint8_t)('0' + check_below(&random, 10));
                        break;
                    }
                }
                break;
            default:
                memmove(damaged + at, damaged + at + length, size - at - length);
                size -= length;
                break;
            }
        }
        if (check_below(&random, 16) == 0) {
            size = 1 + (size_t)check_below(&random, size);
        }
        survive(damaged, size, "several bytes");
    }
    free(damaged);
    image_drop(image);
}

/* The caller's buffer is never overrun, whatever its size. */
static void test_error_buffers(void) {
    static const uint8_t bytes[16] = {8, 0, 0, 0, 0, 0, 0, 0, '[', ']'};
    char error[64];
    for (uint32_t size = 0; size <= 40; size++) {
        memset(error, '#', sizeof error);
        CHECK(wf_model_open_bytes(bytes, sizeof bytes, "a", error, size) == NULL, "size %u", size);
        CHECK(size == 0 || memchr(error, '\0', size) != NULL, "size %u is not terminated", size);
        CHECK(error[size] == '#', "size %u is overrun", size);
    }
    CHECK(wf_model_open_bytes(bytes, sizeof bytes, "a", NULL, 10) == NULL, "no buffer");
    CHECK(wf_model_open_bytes(NULL, 0, NULL, error, sizeof error) == NULL && check_is_line(error, sizeof error), "nothing at all");
    CHECK(wf_model_open_bytes(bytes, 0, "a", error, sizeof error) == NULL && check_is_line(error, sizeof error), "no bytes");
    CHECK(wf_model_open(NULL, error, sizeof error) == NULL && check_is_line(error, sizeof error), "no path");
}

static void write_file(const char *path, const uint8_t *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        printf("a test can't write %s\n", path);
        exit(1);
    }
}

/* Expects that a path is refused with `fault`. */
static void refuse_path(const char *path, const char *fault) {
    char error[ERROR_BYTES] = "";
    wf_model *model = wf_model_open(path, error, ERROR_BYTES);
    CHECK(model == NULL && check_is_line(error, ERROR_BYTES) && strstr(error, fault) != NULL, "expected \"%s\": %s", fault, error);
    wf_model_close(model);
}

static void test_files(void) {
    const char *parent = getenv("TMPDIR");
    char folder[256];
    snprintf(folder, sizeof folder, "%s/wrinklefree-model-XXXXXX", parent == NULL ? "/tmp" : parent);
    if (mkdtemp(folder) == NULL) {
        CHECK(false, "no temporary folder");
        return;
    }
    char path[320];
    struct image *image = image_build(&plain);
    snprintf(path, sizeof path, "%s/model\n.wf", folder);
    write_file(path, image->bytes, image->size);
    char error[ERROR_BYTES] = "";
    wf_reading reading = {0};
    wf_model *model = wf_model_open_watched(path, 0, &reading, error, ERROR_BYTES);
    CHECK(atomic_load(&reading.done) == atomic_load(&reading.total), "an open file is not read to its end");
    wf_reading narrow = {0};
    wf_model *large = wf_model_open_watched(path, image->size, &narrow, error, ERROR_BYTES);
    CHECK(large != NULL && atomic_load(&narrow.total) == 0, "a file that fills the memory is read in advance");
    wf_model_close(large);
    CHECK(model != NULL, "%s", error);
    if (model != NULL) {
        /* The mapping outlives the file's name. */
        unlink(path);
        check_model(model);
    }
    wf_model_close(model);
    refuse_path(path, "model?.wf: can't be opened: No such file");
    write_file(path, image->bytes, image->size - 64);
    refuse_path(path, "is truncated");
    write_file(path, image->bytes, 0);
    refuse_path(path, "is empty");
    unlink(path);
    refuse_path(folder, "is no regular file but a directory");
    snprintf(path, sizeof path, "%s/pipe", folder);
    CHECK(mkfifo(path, 0600) == 0, "no pipe");
    refuse_path(path, "is no regular file");
    unlink(path);
    refuse_path("/dev/null", "is no regular file");
    rmdir(folder);
    image_drop(image);
}

/* A matrix is bound where there are functions for its kind, and refused where there are none. */
static void test_kinds(void) {
    static const wf_linear known[] = {
        {.layout = WF_LAYOUT_TERNARY, .scale_kind = WF_SCALE_MATRIX, .input_kind = WF_INPUT_INT8},
        {.layout = WF_LAYOUT_TERNARY, .scale_kind = WF_SCALE_ROW, .input_kind = WF_INPUT_INT8},
        {.layout = WF_LAYOUT_GROUPED, .scale_kind = WF_SCALE_GROUP, .input_kind = WF_INPUT_GROUPS},
        {.layout = WF_LAYOUT_BF16, .scale_kind = WF_SCALE_NONE, .input_kind = WF_INPUT_F32},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        wf_linear linear = known[i];
        CHECK(wf_linear_bind(&linear) == 0 && linear.multiply != NULL, "kind %zu", i);
        linear.input_kind = linear.input_kind == WF_INPUT_F32 ? WF_INPUT_INT8 : WF_INPUT_F32;
        CHECK(wf_linear_bind(&linear) == -1, "kind %zu with other inputs", i);
        linear = known[i];
        linear.scale_kind = linear.scale_kind == WF_SCALE_NONE ? WF_SCALE_MATRIX : WF_SCALE_NONE;
        CHECK(wf_linear_bind(&linear) == -1, "kind %zu with other scales", i);
    }
}

int main(int argument_count, char **arguments) {
    test_kinds();
    const uint32_t rounds = argument_count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : ROUNDS;
    const uint64_t seed = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : 20240607;
    test_valid();
    test_config();
    test_tensors();
    test_sizes();
    test_every_bit();
    test_random_damage(&small, rounds / 2, seed);
    test_random_damage(&plain, rounds / 4, seed);
    test_random_damage(&untied, rounds / 4, seed);
    test_error_buffers();
    test_files();
    return check_report();
}

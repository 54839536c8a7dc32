/*
 * random_weights_test.c: models with random weights, which bench measures with: what they hold, and what is refused.
 */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "image.h"
#include "model/model.h"
#include "wrinklefree.h"

#define ERROR_BYTES 256U

static char error[ERROR_BYTES];

static const struct recipe shapes[] = {
    {.vocabulary = 37,
     .hidden = 64,
     .intermediate = 96,
     .layers = 2,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .sub_norms = true,
     .tied = true},
    /* Norms and rows with padding, an untied head. */
    {.vocabulary = 40, .hidden = 130, .intermediate = 258, .layers = 1, .heads = 3, .kv_heads = 1, .head_dim = 100, .silu = true},
};

static bool ones_then_zeros(const float *norm, uint32_t count) {
    for (uint32_t i = 0; i < (count + 15) / 16 * 16; i++)
        if (norm[i] != (i < count ? 1.0F : 0.0F))
            return false;
    return true;
}

static void check_linear(const wf_linear *linear, const char *name) {
    uint32_t counts[4] = {0};
    for (uint64_t i = 0; i < (uint64_t)linear->outputs * linear->row_bytes; i++)
        for (uint32_t quarter = 0; quarter < 4; quarter++)
            counts[linear->rows[i] >> 2 * quarter & 3]++;
    const uint32_t all = counts[0] + counts[1] + counts[2];
    CHECK(counts[3] == 0 && counts[0] > all / 4 && counts[1] > all / 4 && counts[2] > all / 4, "%s: %u, %u, %u, %u", name,
          counts[0], counts[1], counts[2], counts[3]);
    CHECK(fabsf(linear->scale * linear->scale * (float)linear->inputs - 1.5F) < 1e-4F, "%s: scale %g", name, (double)linear->scale);
}

static void test_random_model(const struct recipe *recipe) {
    struct image *image = image_build(recipe);
    const uint64_t header_size = image->size - image->data_size;
    wf_model *model = wf_model_open_random(image->bytes, header_size, image->size, 0.5, "random", error, ERROR_BYTES);
    wf_model *again = wf_model_open_random(image->bytes, header_size, image->size, 0.5, "random", error, ERROR_BYTES);
    CHECK(model != NULL && again != NULL, "%s", error);
    if (model != NULL && again != NULL) {
        const wf_config *config = &model->config;
        const wf_layer *layer = &model->layers[0];
        CHECK(memcmp(model->mapping.bytes, again->mapping.bytes, image->size) == 0, "the same header gives the same model");
        CHECK(ones_then_zeros(layer->input_norm, config->hidden) && ones_then_zeros(model->final_norm, config->hidden), "norms");
        CHECK(!recipe->sub_norms || ones_then_zeros(layer->ffn_sub_norm, config->intermediate), "sub-norms");
        check_linear(&layer->query, "query");
        check_linear(&layer->down, "down");
        double sum = 0, squares = 0;
        const uint32_t count = config->vocabulary * config->hidden;
        float *weights = need(calloc(config->hidden, sizeof *weights));
        for (uint32_t row = 0; row < config->vocabulary; row++) {
            model->head.read_row(&model->head, row, weights);
            for (uint32_t i = 0; i < config->hidden; i++) {
                sum += (double)weights[i];
                squares += (double)weights[i] * (double)weights[i];
            }
        }
        free(weights);
        CHECK(fabs(sum / count) < 0.002 && fabs(sqrt(squares / count) - 0.02) < 0.002, "head: mean %g, deviation %g", sum / count,
              sqrt(squares / count));
    }
    wf_model_close(model);
    wf_model_close(again);

    /* It is checked like a file. */
    const uint64_t sizes[] = {header_size, image->size - 64, image->size + 64, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        CHECK(wf_model_open_random(image->bytes, header_size, sizes[i], 0.5, "random", error, ERROR_BYTES) == NULL &&
                  check_is_line(error, ERROR_BYTES),
              "size %zu", i);
    CHECK(wf_model_open_random(image->bytes, 100, image->size, 0.5, "random", error, ERROR_BYTES) == NULL, "a header cut short");
    CHECK(wf_model_open_random(image->bytes, header_size, image->size, 1.5, "random", error, ERROR_BYTES) == NULL &&
              wf_model_open_random(image->bytes, header_size, image->size, NAN, "random", error, ERROR_BYTES) == NULL,
          "more zeros than there is room for");
    CHECK(wf_model_open_random(image->bytes, image->size, 100, 0.5, "random", error, ERROR_BYTES) == NULL, "longer than the model");
    CHECK(wf_model_open_random(image->bytes, header_size, 0, 0.5, "random", error, ERROR_BYTES) == NULL, "no bytes");
    CHECK(wf_model_open_random(NULL, 0, image->size, 0.5, "random", error, ERROR_BYTES) == NULL, "no header");
    CHECK(wf_model_open_random(image->bytes, header_size, image->size, 0.5, NULL, error, ERROR_BYTES) == NULL, "no name");
    image_drop(image);
}

int main(void) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        test_random_model(&shapes[i]);
    return check_report();
}

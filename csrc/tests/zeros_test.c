/*
 * zeros_test.c: skipping the zeros of relu² against multiplying by them: the same hidden states, bit for bit, whatever the share of zeros.
 */
#include <stdlib.h>

#include "check.h"
#include "image.h"
#include "kernels/dispatch.h"
#include "layers/column_major.h"
#include "layers/forward.h"

static const atomic_bool never = false;
static struct check_random source = {.state = 0x9e3779b97f4a7c15u};

/* Makes `eighths` of eight rows of the gate projections zero. */
static void silence_gates(struct image *image, uint32_t eighths) {
    const struct recipe *recipe = image->recipe;
    const size_t row_bytes = (recipe->hidden + 127) / 128 * 32;
    for (uint32_t layer = 0; layer < recipe->layers; layer++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%u.mlp.gate_proj.weight", layer);
        uint8_t *rows = image->data + image->tensors[image_find(image, name)].begin;
        for (uint32_t row = 0; row < recipe->intermediate; row++)
            if (check_below(&source, 8) < eighths)
                memset(rows + row * row_bytes, 0x55, row_bytes);
    }
}

/* The codes of a down projection, once by its rows and once by its columns. */
static void test_copy(const wf_model *model) {
    char error[256] = "";
    wf_column_major columns;
    wf_pool *pool = need(wf_pool_create(2, NULL, 0));
    CHECK(wf_column_major_create(&columns, model, 2, 1, error, sizeof error) == 0, "%s", error);
    wf_column_major_fill(&columns, model, pool, &never);
    for (uint32_t layer = 0; layer < model->config.layers; layer++) {
        const wf_linear *down = &model->layers[layer].down;
        const uint8_t *bytes = columns.bytes + layer * columns.layer_bytes;
        uint64_t wrong = 0;
        for (uint32_t output = 0; output < down->outputs; output++)
            for (uint32_t input = 0; input < down->inputs; input++) {
                const uint8_t row = down->rows[output * down->row_bytes + input / 128 * 32 + input % 32];
                const uint8_t column = bytes[input * columns.column_bytes + output / 128 * 32 + output % 32];
                wrong += (row >> 2 * (input % 128 / 32) & 3) != (column >> 2 * (output % 128 / 32) & 3);
            }
        CHECK(wrong == 0, "layer %u: %llu codes are others", layer, (unsigned long long)wrong);
    }
    wf_column_major_destroy(&columns);
    wf_pool_destroy(pool);
}

/* Prompts in pieces of 1 to 5 tokens; the last piece size is beyond what is skipped for. Returns the share of zeros that was found. */
static double test_skipping(const wf_model *model, const wf_kernels *kernels, uint32_t threads) {
    enum { CONTEXT = 64 };
    const uint32_t vocabulary = model->config.vocabulary;
    char error[256] = "";
    wf_pool *pool = need(wf_pool_create(threads, NULL, 0));
    wf_forward *forwards[2];
    wf_kv_cache caches[2];
    uint32_t tables[2][CONTEXT / WF_KV_BLOCK];
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(wf_kv_create(&caches[i], &model->config, WF_KV_F32, CONTEXT / WF_KV_BLOCK, error, sizeof error) == 0, "%s", error);
        for (uint32_t block = 0; block < CONTEXT / WF_KV_BLOCK; block++)
            tables[i][block] = wf_kv_take(&caches[i]);
        forwards[i] =
            need(wf_forward_create(&(wf_forward_setup){model, kernels, pool, &caches[i], 5, 5, CONTEXT}, error, sizeof error));
    }
    CHECK(wf_forward_skip_zeros(forwards[1], error, sizeof error) == 0, "%s", error);
    wf_forward_make_copies(forwards[1], pool, &never);
    for (uint32_t start = 0, count = 1; start + count <= CONTEXT; start += count, count = count % 5 + 1) {
        wf_row rows[2][5];
        wf_logits_request requests[5];
        for (uint32_t i = 0; i < count; i++) {
            rows[0][i] = (wf_row){(uint32_t)check_below(&source, vocabulary), start + i, tables[0], false};
            rows[1][i] = (wf_row){rows[0][i].token, start + i, tables[1], false};
            requests[i] = (wf_logits_request){.row = i};
        }
        const float *logits[2];
        for (uint32_t i = 0; i < 2; i++) {
            wf_forward_run(forwards[i], rows[i], count);
            logits[i] = wf_forward_logits(forwards[i], requests, count);
        }
        CHECK(memcmp(logits[0], logits[1], (size_t)count * vocabulary * sizeof *logits[0]) == 0,
              "%s, %u threads, %u tokens at %u: the logits differ", kernels->name, threads, count, start);
    }
    const wf_zeros zeros = wf_forward_zeros(forwards[1]), none = wf_forward_zeros(forwards[0]);
    CHECK(none.inputs == 0 && none.skipped_bytes == 0, "zeros were counted that nobody looked for");
    for (uint32_t i = 0; i < 2; i++) {
        wf_forward_destroy(forwards[i]);
        wf_kv_destroy(&caches[i]);
    }
    wf_pool_destroy(pool);
    CHECK((zeros.inputs == 0) == (model->config.activation != WF_RELU_SQUARED), "%llu inputs", (unsigned long long)zeros.inputs);
    if (zeros.inputs == 0)
        return 0;
    const double share = (double)zeros.zeros / (double)zeros.inputs;
    CHECK(zeros.skipped_bytes > 0, "%g of the inputs were zero, and nothing was skipped", share);
    return share;
}

int main(void) {
    static const struct recipe recipes[] = {
        {300, 64, 1100, 2, 4, 2, 16, true, true, false, NULL, NULL},
        {300, 200, 160, 1, 4, 1, 50, true, false, true, NULL, NULL},
        {300, 64, 96, 1, 4, 2, 16, false, true, false, NULL, NULL},
    };
    uint32_t tiers;
    const wf_kernels *const *supported = wf_kernels_supported(&tiers);
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        double last = 0;
        for (uint32_t eighths = 0; eighths < 8; eighths += 3) {
            struct image *image = image_build(&recipes[i]);
            image_randomise(image, &source);
            silence_gates(image, eighths);
            char error[256] = "";
            wf_model *model = wf_model_open_bytes(image->bytes, image->size, "random.wf", error, sizeof error);
            image_drop(image);
            CHECK(model != NULL, "%s", error);
            if (model == NULL)
                return check_report();
            test_copy(model);
            double share = 0;
            for (uint32_t tier = 0; tier < tiers; tier++)
                for (uint32_t threads = 1; threads <= 2; threads++)
                    share = test_skipping(model, supported[tier], threads);
            if (model->config.activation == WF_RELU_SQUARED) {
                CHECK(share > last, "%u eighths of the gates are silent, and %g of the inputs are zero", eighths, share);
                last = share;
            }
            wf_model_close(model);
        }
    }
    return check_report();
}

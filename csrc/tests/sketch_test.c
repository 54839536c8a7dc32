/*
 * sketch_test.c: the screened head against the full one: the bound holds for every row, and the likeliest tokens are the same bits.
 *
 * Hidden states are random, and also rows of the head themselves with noise, as those of a trained model are: near what they predict.
 */
#include <math.h>
#include <stdlib.h>

#include "base/aligned_memory.h"
#include "check.h"
#include "engine/sampler.h"
#include "image.h"
#include "kernels/dispatch.h"
#include "kernels/exponential.h"
#include "layers/forward.h"
#include "layers/head.h"
#include "layers/sketch.h"

static const atomic_bool never = false;
static struct check_random source = {.state = 0x2545f4914f6cdd1du};

static float logit(const wf_model *model, const wf_kernels *kernels, uint32_t token, const float *state) {
    float exact;
    kernels->bf16_matmul((const uint16_t *)(const void *)(model->head.rows + (size_t)token * model->head.row_bytes), 1,
                         model->config.hidden, state, model->config.hidden, 1, &exact, 1);
    return exact;
}

static void test_bounds(const wf_model *model, const wf_kernels *kernels, uint32_t states) {
    const uint32_t hidden = model->config.hidden, vocabulary = model->config.vocabulary;
    char error[256] = "";
    wf_sketch sketch;
    wf_pool *pool = need(wf_pool_create(2, NULL, 0));
    CHECK(wf_sketch_create(&sketch, model, error, sizeof error) == 0, "%s", error);
    for (int is_fine = 0; is_fine < 2; is_fine++)
        wf_sketch_fill(&sketch, model, kernels, is_fine != 0, pool, &never);
    float *weights = need(calloc(hidden, sizeof *weights));
    float *state = need(calloc(hidden, sizeof *state)), *sketched_logits = need(calloc(vocabulary, sizeof *sketched_logits));
    int16_t *values = need(wf_allocate((size_t)sketch.blocks * WF_BLOCK_WEIGHTS, sizeof *values));
    double tightest[2] = {0, 0};
    for (uint32_t i = 0; i < states; i++) {
        const uint32_t near = (uint32_t)check_below(&source, vocabulary);
        model->head.read_row(&model->head, near, weights);
        for (uint32_t d = 0; d < hidden; d++)
            state[d] = image_random_float(&source) * (i % 3 == 0 ? 10.0f : 1.0f) + (i % 2 == 0 ? 20.0f * weights[d] : 0.0f);
        wf_sketched_state sketched = {.values = values};
        wf_sketch_state(state, hidden, sketch.blocks, &sketched);
        const wf_wide_activations x = {.values = values,
                                       .stride = (size_t)sketch.blocks * WF_BLOCK_WEIGHTS,
                                       .sums = &sketched.sum,
                                       .factors = &sketched.inverse_scale,
                                       .tokens = 1};
        for (int is_fine = 0; is_fine < 2; is_fine++) {
            const wf_sketch_rows rows = wf_sketch_rows_from(&sketch, 0, is_fine != 0);
            kernels->sketch_matmul(&rows, vocabulary, &x, sketched_logits, vocabulary);
            for (uint32_t token = 0; token < vocabulary; token++) {
                const float exact = logit(model, kernels, token, state);
                const float bound = wf_sketch_bound(&sketch, is_fine != 0, &sketched, token);
                const double off = fabs((double)exact - (double)sketched_logits[token]);
                CHECK(off <= (double)bound, "fine %d, token %u: %g beyond the bound %g", is_fine, token, off, (double)bound);
                tightest[is_fine] = fmax(tightest[is_fine], off / (double)bound);
            }
        }
    }
    for (int is_fine = 0; is_fine < 2; is_fine++)
        CHECK(tightest[is_fine] > 0.05, "fine %d: the bound is %g times too wide: it screens nothing", is_fine,
              1 / tightest[is_fine]);
    free(weights);
    free(state);
    free(sketched_logits);
    free(values);
    wf_sketch_destroy(&sketch);
    wf_pool_destroy(pool);
}

/* The `most` likeliest of logits[vocabulary] are the same tokens with the same bits. */
static void check_likeliest(const float *full, const float *screened, uint32_t vocabulary, uint32_t most) {
    for (uint32_t token = 0; token < vocabulary; token++) {
        uint32_t better = 0;
        for (uint32_t other = 0; other < vocabulary; other++)
            better += full[other] > full[token] || (full[other] == full[token] && other < token);
        const bool needed = better < most;
        const bool same = memcmp(&full[token], &screened[token], sizeof *full) == 0;
        CHECK(same || (!needed && screened[token] == -INFINITY), "token %u of rank %u: %g, not %g", token, better,
              (double)screened[token], (double)full[token]);
    }
}

/* What was left out is as the rest says: less than its bound, and of a weight within its bounds. Returns whether anything was. */
static bool check_rest(const float *full, const float *screened, uint32_t vocabulary, const wf_residual_mass *residual,
                       float temperature) {
    double weight = 0;
    uint32_t left_out = 0;
    for (uint32_t token = 0; token < vocabulary; token++) {
        if (memcmp(&full[token], &screened[token], sizeof *full) == 0)
            continue;
        left_out++;
        CHECK(screened[token] == -INFINITY && full[token] < residual->below, "token %u: %g and %g, below %g", token,
              (double)screened[token], (double)full[token], (double)residual->below);
        /* The kernels' exponential is never less than this one. */
        weight += exp(fmax(((double)full[token] - (double)residual->below) / (double)temperature, (double)WF_EXP_LOW));
    }
    CHECK(left_out == 0 ? residual->upper_bound == 0 && residual->lower_bound == 0
                        : weight >= residual->lower_bound && weight <= residual->upper_bound,
          "%u tokens left out weigh %g, not %g to %g", left_out, weight, residual->lower_bound, residual->upper_bound);
    return left_out > 0;
}

/* Draws give the same token whether all logits are known or only the likeliest, or are undecided; mostly decided where the distribution
 * is steep. */
static void test_draws(const wf_model *model, const wf_kernels *kernels, uint32_t rounds) {
    const uint32_t vocabulary = model->config.vocabulary, hidden = model->config.hidden;
    char error[256] = "";
    wf_pool *pool = need(wf_pool_create(2, NULL, 0));
    wf_head *full = need(wf_head_create(model, kernels, pool, 2, error, sizeof error));
    wf_head *screened = need(wf_head_create(model, kernels, pool, 2, error, sizeof error));
    CHECK(wf_head_screen(screened, error, sizeof error) == 0, "%s", error);
    wf_head_fill(screened, pool, &never);
    wf_sampler_scratch scratch = {.weights = need(calloc(vocabulary, sizeof(float))),
                                  .candidates = need(calloc(vocabulary, sizeof(wf_candidate)))};
    float *states = need(calloc(2 * (size_t)hidden, sizeof *states));
    uint64_t *allowed = need(calloc(vocabulary / 64 + 1, sizeof *allowed));
    uint32_t tried = 0, decided = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t d = 0; d < 2 * hidden; d++)
            states[d] = image_random_float(&source);
        for (uint32_t word = 0; word <= vocabulary / 64; word++)
            allowed[word] = check_next(&source) | (round % 2 == 0 ? ~UINT64_C(0) : 0);
        static const float temperatures[] = {1e-3f, 0.05f, 0.3f, 1.0f, 100.0f}, top_ps[] = {0.0f, 0.3f, 0.9f, 0.99f, 1.0f};
        wf_sampling sampling = {.temperature = temperatures[round % 5], .repetition_penalty = 1.0f};
        wf_residual_mass rests[2];
        wf_logits_request requests[2], all[2];
        for (uint32_t i = 0; i < 2; i++) {
            all[i] = (wf_logits_request){.row = i};
            requests[i] =
                (wf_logits_request){.row = i, .residual = &rests[i], .temperature = sampling.temperature, .allowed = allowed};
        }
        float *exact = wf_head_logits(full, states, all, 2), *found = wf_head_logits(screened, states, requests, 2);
        if (round == 0) {
            /* Half of the sketch is made for the likeliest tokens; draws read the whole head until the other half is. */
            CHECK(wf_head_wants(screened), "nothing is wanted for draws");
            CHECK(memcmp(exact, found, 2 * (size_t)vocabulary * sizeof *exact) == 0, "the full head is not the full head");
            wf_head_fill(screened, pool, &never);
            CHECK(!wf_head_wants(screened), "what was made is wanted again");
            found = wf_head_logits(screened, states, requests, 2);
        }
        for (uint32_t i = 0; i < 2; i++, exact += vocabulary, found += vocabulary) {
            for (uint32_t token = 0; token < vocabulary; token++)
                if ((allowed[token / 64] >> token % 64 & 1) == 0)
                    exact[token] = -INFINITY;
            if (!check_rest(exact, found, vocabulary, &rests[i], sampling.temperature))
                continue;
            for (uint32_t draw = 0; draw < 20; draw++) {
                sampling.top_p = top_ps[draw % 5];
                sampling.min_p = draw < 10 ? 0.0f : 0.1f;
                sampling.seed = round;
                wf_sampler_input input = {.sampling = &sampling, .position = draw};
                const uint32_t expected = wf_sample(kernels, exact, vocabulary, &input, &scratch);
                input.residual = rests[i];
                const uint32_t token = wf_sample(kernels, found, vocabulary, &input, &scratch);
                CHECK(token == expected || token == WF_UNDECIDED, "temperature %g, top_p %g: token %u, not %u",
                      (double)sampling.temperature, (double)sampling.top_p, token, expected);
                if (sampling.temperature < 0.1f && sampling.top_p < 0.99f) {
                    tried++;
                    decided += token != WF_UNDECIDED;
                }
            }
        }
    }
    CHECK(decided * 4 >= tried * 3, "of %u steep draws only %u were decided", tried, decided);
    free(states);
    free(allowed);
    free(scratch.weights);
    free(scratch.candidates);
    wf_head_destroy(full);
    wf_head_destroy(screened);
    wf_pool_destroy(pool);
}

static void test_screening(const wf_model *model, const wf_kernels *kernels, uint32_t rounds) {
    enum { CONTEXT = 64 };
    const uint32_t vocabulary = model->config.vocabulary;
    char error[256] = "";
    wf_kv_cache cache;
    CHECK(wf_kv_create(&cache, &model->config, WF_KV_F32, 2, error, sizeof error) == 0, "%s", error);
    const uint32_t table[2] = {wf_kv_take(&cache), wf_kv_take(&cache)};
    wf_pool *pool = need(wf_pool_create(2, NULL, 0));
    const wf_forward_setup setup = {model, kernels, pool, &cache, CONTEXT, 4, CONTEXT};
    wf_forward *full = need(wf_forward_create(&setup, error, sizeof error));
    wf_forward *screened = need(wf_forward_create(&setup, error, sizeof error));
    CHECK(wf_forward_screen_head(screened, error, sizeof error) == 0, "%s", error);
    wf_forward_make_copies(screened, pool, &never);
    for (uint32_t round = 0; round < rounds; round++) {
        wf_row rows[CONTEXT];
        for (uint32_t position = 0; position < CONTEXT; position++)
            rows[position] = (wf_row){(uint32_t)check_below(&source, vocabulary), position, table, false};
        wf_forward_run(full, rows, CONTEXT);
        wf_forward_run(screened, rows, CONTEXT);
        wf_logits_request requests[4];
        for (uint32_t i = 0; i < 4; i++)
            requests[i] = (wf_logits_request){.row = (uint32_t)check_below(&source, CONTEXT),
                                              .top_k = 1 + (uint32_t)check_below(&source, i == 0 ? 1 : WF_SCREENED_TOP_K_MAX)};
        const wf_logits_request all[4] = {
            {.row = requests[0].row}, {.row = requests[1].row}, {.row = requests[2].row}, {.row = requests[3].row}};
        const float *exact = wf_forward_logits(full, all, 4), *found = wf_forward_logits(screened, requests, 4);
        for (uint32_t i = 0; i < 4; i++)
            check_likeliest(exact + (size_t)i * vocabulary, found + (size_t)i * vocabulary, vocabulary, requests[i].top_k);
        /* One request that needs all logits gets all, and so do its neighbours. */
        requests[1].top_k = 0;
        found = wf_forward_logits(screened, requests, 4);
        CHECK(memcmp(exact, found, 4 * (size_t)vocabulary * sizeof *exact) == 0, "the full head is not the full head");
    }
    wf_forward_destroy(full);
    wf_forward_destroy(screened);
    wf_pool_destroy(pool);
    wf_kv_destroy(&cache);
}

int main(void) {
    static const struct recipe recipes[] = {
        {700, 64, 96, 2, 4, 2, 16, true, true, false, NULL, NULL},
        {300, 200, 160, 1, 4, 1, 50, false, false, true, NULL, NULL},
        {5000, 64, 96, 1, 4, 2, 16, true, true, false, NULL, NULL},
    };
    uint32_t tiers;
    const wf_kernels *const *supported = wf_kernels_supported(&tiers);
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        struct image *image = image_build(&recipes[i]);
        image_randomise(image, &source);
        char error[256] = "";
        wf_model *model = wf_model_open_bytes(image->bytes, image->size, "random.wf", error, sizeof error);
        image_drop(image);
        CHECK(model != NULL, "%s", error);
        if (model == NULL)
            break;
        for (uint32_t tier = 0; tier < tiers; tier++) {
            const bool is_slow = tier + 1 == tiers, is_large = recipes[i].vocabulary > 1000;
            if (is_large) {
                test_draws(model, supported[tier], is_slow ? 10 : 200);
                continue;
            }
            test_bounds(model, supported[tier], is_slow ? 20 : 200);
            test_screening(model, supported[tier], is_slow ? 2 : 12);
        }
        wf_model_close(model);
    }
    return check_report();
}

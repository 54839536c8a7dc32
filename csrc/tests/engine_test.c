/*
 * engine_test.c: the engine through its contract, on tiny random models: every request gets its own tokens, whoever
 * else is served, however the work is cut and whatever the client does; the engine always comes to rest and leaves
 * nothing behind.
 *
 * What a request must get is foretold by an oracle that shares no code with the scheduler: it runs the model one token
 * at a time over a cache of its own. Random schedules of arrivals, cancellations and drains are then held against it.
 * WF_SCHEDULES in the environment sets their number.
 */
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/threads.h"
#include "check.h"
#include "engine/sampler.h"
#include "grammar/grammar.h"
#include "image.h"
#include "kernels/dispatch.h"
#include "layers/forward.h"
#include "layers/kv_cache.h"
#include "model/model.h"
#include "process.h"
#include "wrinklefree.h"

#define ERROR_BYTES 256U
/* What image.h writes into every configuration. */
#define MODEL_CONTEXT 256U
#define FIRST_EOS 2U
#define SECOND_EOS 3U
/* Waiting for longer than this is a fault of the engine. */
#define PATIENCE_MS 60000
#define SCHEDULES_DEFAULT (WATCHES_RACES ? 600U : 3000U)
/* Events that can wait, at least. */
#define RING_EVENTS 16384U

/* Squared ReLU, sub-norms and tied embeddings; SiLU without either, and a head of several slices; a head dimension that
 * is no multiple of 16, with groups of two. */
static const struct recipe recipes[] = {
    {37, 64, 96, 2, 4, 2, 16, true, true, false, NULL, NULL},
    {2048, 64, 160, 2, 4, 1, 32, false, false, true, NULL, NULL},
    {61, 72, 136, 2, 6, 3, 20, true, false, false, NULL, NULL},
};
/* For schedules, where the scheduler is what matters. */
static const struct recipe tiny = {32, 32, 32, 1, 2, 1, 10, true, false, false, NULL, NULL};

static struct check_random source = {.state = 0x5851f42d4c957f2du};

static uint32_t below(uint32_t limit) { return (uint32_t)check_below(&source, limit); }

static bool one_in(uint32_t count) { return below(count) == 0; }

/* A model with random weights. Those of `poisoned`'s embedding are NaN, unless it is WF_NO_TOKEN. */
static wf_model *open_model(const struct recipe *recipe, uint32_t poisoned) {
    struct image *image = image_build(recipe);
    image_randomise(image, &source);
    if (poisoned != WF_NO_TOKEN)
        memset(image->data + image->tensors[image_find(image, "model.embed_tokens.weight")].begin +
                   (size_t)poisoned * recipe->hidden * 2,
               0xff, (size_t)recipe->hidden * 2);
    char error[ERROR_BYTES] = "";
    wf_model *model = wf_model_open_bytes(image->bytes, image->size, "random.wf", error, sizeof error);
    image_drop(image);
    if (model == NULL) {
        printf("%s\n", error);
        exit(1);
    }
    return model;
}

/* ---- Requests and what they must get ---- */

#define LISTS_MAX 128U

struct request {
    uint32_t prompt[MODEL_CONTEXT];
    uint32_t prompt_count;
    wf_sampling sampling;
    uint32_t stop_ids[8];
    uint32_t stop_count;
    uint32_t bias_ids[8];
    float bias_values[8];
    uint32_t bias_count;
    uint32_t lists[LISTS_MAX];
    uint32_t lists_size;
    uint32_t form; /* of the forms below; 0: any */

    uint32_t expected[MODEL_CONTEXT];
    uint32_t expected_count;
    uint32_t reason;
    bool ends_apart; /* not with its last token but when the next one's turn comes, and so it can be cancelled in between */
};

static const wf_sampling greedy = {.top_p = 1.0f, .repetition_penalty = 1.0f, .max_tokens = UINT32_MAX, .ignore_eos = 1};

static bool is_stop(const wf_model *model, const struct request *request, uint32_t token) {
    for (uint32_t i = 0; i < request->stop_count; i++)
        if (request->stop_ids[i] == token)
            return true;
    for (uint32_t i = 0; !request->sampling.ignore_eos && i < model->config.eos_count; i++)
        if (model->config.eos_token_ids[i] == token)
            return true;
    return false;
}

/* ---- Forms of answers: grammars, and the same again as a table ---- */

/* Words of one to three of the letters a to m and one of n to z, any number of them, or exactly one of two letters and one. */
static const uint32_t form_words[3][40] = {
    {0},
    {WF_GRAMMAR_MAGIC,
     1,
     4,
     6,
     0,
     0, /* the rule */
     WF_GRAMMAR_FINAL | 0,
     1,
     3,
     5, /* the nodes' first edges */
     0x6d6100,
     1, /* 0: a … m */
     0x6d6100,
     2,
     0x7a6e00,
     0, /* 1: a … m, n … z */
     0x6d6100,
     3,
     0x7a6e00,
     0,
     0x7a6e00,
     0}, /* 2 and 3 */
    {WF_GRAMMAR_MAGIC, 1, 4, 3, 0, 0, 0, 1, 2, WF_GRAMMAR_FINAL | 3, 0x6d6100, 1, 0x6d6100, 2, 0x7a6e00, 3},
};
static const uint32_t form_sizes[3] = {0, 22 * 4, 16 * 4};
/* [form][state][whether the letter is one of the second half]: the state behind it, or 9. */
static const uint8_t form_steps[3][4][2] = {{{0}}, {{1, 9}, {2, 0}, {3, 0}, {9, 0}}, {{1, 9}, {2, 9}, {9, 3}, {9, 9}}};

/* The letters of a token; those of the first few, the end-of-text tokens among them, are none. */
static uint32_t letters_of(uint32_t token, uint8_t letters[2]) {
    letters[0] = (uint8_t)('a' + token * 7 % 26);
    letters[1] = (uint8_t)('a' + token * 11 % 26);
    return token < 4 ? 0 : token % 3 == 0 ? 2 : 1;
}

/* Where a token leads from a state of a form; 9: nowhere. */
static uint8_t form_after(uint32_t form, uint8_t state, uint32_t token) {
    uint8_t letters[2];
    const uint32_t count = letters_of(token, letters);
    for (uint32_t i = 0; i < count && state != 9; i++)
        state = form_steps[form][state][letters[i] > 'm'];
    return count == 0 ? 9 : state;
}

static bool form_is_complete(uint32_t form, uint8_t state) { return form == 1 ? state == 0 : state == 3; }

static bool is_stop(const wf_model *model, const struct request *request, uint32_t token);

/* The tokens that a request may have in a state of its form, stop tokens included. Returns how many others there are. */
static uint32_t form_tokens(const wf_model *model, const struct request *request, uint8_t state, uint64_t *allowed) {
    const bool may_stop = form_is_complete(request->form, state) && request->expected_count >= request->sampling.min_tokens;
    uint32_t count = 0;
    for (uint32_t token = 0; token < model->config.vocabulary; token++) {
        const bool stops = is_stop(model, request, token);
        const bool is_allowed = stops ? may_stop : form_after(request->form, state, token) != 9;
        allowed[token / 64] &= ~((uint64_t)1 << token % 64);
        allowed[token / 64] |= (uint64_t)is_allowed << token % 64;
        count += is_allowed && !stops;
    }
    return count;
}

/* Takes out what the lists of a request exclude after its answer so far. Returns how many tokens are left. */
static uint32_t exclude_listed(const struct request *request, uint32_t vocabulary, uint64_t *allowed) {
    uint64_t listed[32] = {0};
    bool has_listed = false;
    for (uint32_t place = 0; place < request->lists_size; place += 2 + request->lists[place + 1]) {
        const uint32_t *ids = request->lists + place + 2, length = request->lists[place + 1], last = ids[length - 1];
        if (request->lists[place] == WF_LIST_ALLOWED) {
            has_listed = true;
            for (uint32_t i = 0; i < length; i++)
                listed[ids[i] / 64] |= (uint64_t)1 << ids[i] % 64;
        } else if (request->lists[place] == WF_LIST_BAD_WORD && request->expected_count + 1 >= length) {
            bool stands = true;
            for (uint32_t i = 0; i + 1 < length; i++)
                stands = stands && request->expected[request->expected_count - (length - 1) + i] == ids[i];
            if (stands)
                allowed[last / 64] &= ~((uint64_t)1 << last % 64);
        }
    }
    uint32_t count = 0;
    for (uint32_t token = 0; token < vocabulary; token++) {
        if (has_listed && (listed[token / 64] >> token % 64 & 1) == 0)
            allowed[token / 64] &= ~((uint64_t)1 << token % 64);
        count += allowed[token / 64] >> token % 64 & 1;
    }
    return count;
}

static bool is_listed(const struct request *request, uint32_t kind, uint32_t token) {
    for (uint32_t place = 0; place < request->lists_size; place += 2 + request->lists[place + 1])
        for (uint32_t i = 0; request->lists[place] == kind && i < request->lists[place + 1]; i++)
            if (request->lists[place + 2 + i] == token)
                return true;
    return false;
}

/* The tokens of tokens[count] that go on with a repetition of the last ones, with their penalties. Returns their number. */
static uint32_t repetitions(const struct request *request, const uint32_t *tokens, uint32_t count, uint32_t *ids,
                            float *penalties) {
    const wf_sampling *sampling = &request->sampling;
    const uint32_t first = sampling->dry_window > 0 && sampling->dry_window < count ? count - sampling->dry_window : 0;
    uint32_t found = 0, lengths[MODEL_CONTEXT];
    for (uint32_t place = first + 1; sampling->dry_multiplier > 0.0f && place < count; place++) {
        uint32_t length = 0, at = 0;
        while (length < place - first && tokens[place - 1 - length] == tokens[count - 1 - length] &&
               !is_listed(request, WF_LIST_BREAKERS, tokens[count - 1 - length]))
            length++;
        if (length < sampling->dry_allowed_length || is_listed(request, WF_LIST_BREAKERS, tokens[place]))
            continue;
        while (at < found && ids[at] != tokens[place])
            at++;
        lengths[at] = at == found || length > lengths[at] ? length : lengths[at];
        ids[at] = tokens[place];
        found += at == found;
        double penalty = (double)sampling->dry_multiplier;
        for (uint32_t i = sampling->dry_allowed_length; i < lengths[at]; i++)
            penalty *= (double)sampling->dry_base;
        penalties[at] = (float)(penalty < 1e30 ? penalty : 1e30);
    }
    return found;
}

/* Fills expected, expected_count and reason: the model over one token at a time, in fresh memory. */
static void foretell(const wf_model *model, uint32_t context, struct request *request) {
    const wf_kernels *kernels = wf_kernels_active();
    const uint32_t vocabulary = model->config.vocabulary, blocks = (context + WF_KV_BLOCK - 1) / WF_KV_BLOCK;
    uint32_t tokens[MODEL_CONTEXT + 1], table[MODEL_CONTEXT / WF_KV_BLOCK + 1];
    uint32_t count = request->prompt_count, banned[MODEL_CONTEXT], seen[MODEL_CONTEXT], occurrences[MODEL_CONTEXT];
    memcpy(tokens, request->prompt, count * sizeof *tokens);

    char error[ERROR_BYTES] = "";
    wf_kv_cache cache;
    if (wf_kv_create(&cache, &model->config, WF_KV_F32, blocks, error, sizeof error) != 0)
        exit(1);
    for (uint32_t i = 0; i < blocks; i++)
        table[i] = wf_kv_take(&cache);
    wf_pool *pool = need(wf_pool_create(1, NULL, 0));
    wf_forward *forward =
        need(wf_forward_create(&(wf_forward_setup){model, kernels, pool, &cache, 1, 1, context}, error, sizeof error));
    wf_sampler_scratch scratch = {.weights = need(calloc(vocabulary, sizeof(float))),
                                  .candidates = need(calloc(vocabulary, sizeof(wf_candidate)))};

    request->expected_count = 0;
    request->reason = 0;
    request->ends_apart = false;
    uint8_t state = 0;
    uint64_t allowed[32];
    for (uint32_t position = 0; request->reason == 0; position++) {
        wf_forward_run(forward, &(wf_row){.token = tokens[position], .position = position, .table = table}, 1);
        if (position + 1 < count)
            continue;
        uint32_t seen_count = 0, banned_count = 0;
        const uint32_t window = request->sampling.penalty_window;
        for (uint32_t i = window > 0 && window < count ? count - window : 0; i < count; i++) {
            uint32_t at = 0;
            while (at < seen_count && seen[at] != tokens[i])
                at++;
            if (at == seen_count) {
                seen[seen_count++] = tokens[i];
                occurrences[at] = 0;
            }
            occurrences[at] += i >= request->prompt_count;
        }
        const bool is_at_end = request->form != 0 && form_tokens(model, request, state, allowed) == 0;
        for (uint32_t token = 0; request->form == 0 && request->expected_count < request->sampling.min_tokens && token < vocabulary;
             token++)
            if (is_stop(model, request, token))
                banned[banned_count++] = token;
        const bool is_restricted = request->form != 0 || request->lists_size > 0;
        if (request->form == 0)
            memset(allowed, 0xff, sizeof allowed);
        for (uint32_t i = 0; i < banned_count; i++)
            allowed[banned[i] / 64] &= ~((uint64_t)1 << banned[i] % 64);
        if (is_at_end || exclude_listed(request, vocabulary, allowed) == 0) {
            request->reason = request->form != 0 && form_is_complete(request->form, state) ? WF_REASON_STOP : WF_REASON_GRAMMAR;
            request->ends_apart = true;
            break;
        }
        uint32_t repeats[MODEL_CONTEXT];
        float repeat_penalties[MODEL_CONTEXT];
        const wf_sampler_input input = {
            .repeat_ids = repeats,
            .repeat_penalties = repeat_penalties,
            .repeat_count = repetitions(request, tokens, count, repeats, repeat_penalties),
            .sampling = &request->sampling,
            .bias_ids = request->bias_ids,
            .bias_values = request->bias_values,
            .bias_count = request->bias_count,
            .seen_ids = seen,
            .seen_counts = occurrences,
            .seen_count = seen_count,
            .banned_ids = banned,
            .banned_count = banned_count,
            .allowed = is_restricted ? allowed : NULL,
            .position = count,
        };
        const uint32_t token =
            wf_sample(kernels, wf_forward_logits(forward, &(wf_logits_request){.row = 0}, 1), vocabulary, &input, &scratch);
        tokens[count++] = token;
        request->expected[request->expected_count++] = token;
        state = request->form == 0 ? 0 : form_after(request->form, state, token);
        if (is_stop(model, request, token) || (request->form == 2 && state == 3))
            request->reason = WF_REASON_STOP;
        else if (request->expected_count == request->sampling.max_tokens || count == context)
            request->reason = WF_REASON_LENGTH;
    }
    free(scratch.weights);
    free(scratch.candidates);
    wf_forward_destroy(forward);
    wf_pool_destroy(pool);
    wf_kv_destroy(&cache);
}

/* A random request of all kinds whose prompt and answer are `prompt_most` and `answer_most` tokens at most, as a rule.
 */
static void make_request(const wf_model *model, uint32_t context, uint32_t prompt_most, uint32_t answer_most,
                         struct request *request) {
    const uint32_t vocabulary = model->config.vocabulary;
    *request = (struct request){.prompt_count = 1 + below(one_in(12) ? context - 1 : prompt_most)};
    for (uint32_t i = 0; i < request->prompt_count; i++)
        request->prompt[i] = below(vocabulary);
    wf_sampling *sampling = &request->sampling;
    *sampling = greedy;
    sampling->max_tokens = one_in(16) ? UINT32_MAX : 1 + below(answer_most);
    sampling->ignore_eos = one_in(3);
    sampling->seed = check_next(&source);
    if (!one_in(3)) {
        sampling->temperature = 0.2f * (float)(1 + below(10));
        sampling->top_p = one_in(2) ? 1.0f : 0.05f * (float)below(20);
        sampling->min_p = one_in(2) ? 0.0f : 0.02f * (float)below(10);
        sampling->top_k = one_in(2) ? 0 : 1 + below(40);
    }
    if (one_in(3)) {
        sampling->repetition_penalty = 0.8f + 0.1f * (float)below(8);
        sampling->frequency_penalty = 0.25f * (float)below(4);
        sampling->presence_penalty = -0.5f + 0.25f * (float)below(6);
    }
    if (one_in(4))
        sampling->min_tokens = below(answer_most + 2);
    if (one_in(3))
        for (uint32_t i = below(4); i > 0; i--)
            request->stop_ids[request->stop_count++] = below(vocabulary);
    if (one_in(4))
        for (uint32_t i = below(8); i > 0; i--) {
            request->bias_ids[request->bias_count] = below(vocabulary);
            request->bias_values[request->bias_count++] = image_random_float(&source) * 5.0f;
        }
    if (one_in(3))
        request->form = 1 + below(2);
    if (one_in(3)) {
        sampling->top_n_sigma = one_in(2) ? 0.0f : 0.25f * (float)below(12);
        sampling->typical_p = one_in(2) ? 1.0f : 0.05f * (float)below(20);
        sampling->xtc_probability = one_in(2) ? 0.0f : 0.25f * (float)below(5);
        sampling->xtc_threshold = 0.05f * (float)below(6);
        sampling->min_keep = one_in(2) ? 0 : below(5);
        sampling->temperature_place = below(WF_TEMPERATURE_LAST + 1);
    }
    sampling->penalty_window = one_in(2) ? 0 : 1 + below(40);
    if (one_in(4)) {
        sampling->dry_multiplier = 0.5f * (float)(1 + below(4));
        sampling->dry_base = 1.0f + 0.25f * (float)below(4);
        sampling->dry_allowed_length = below(3);
        sampling->dry_window = one_in(2) ? 0 : 1 + below(60);
    }
    for (uint32_t kind = WF_LIST_ALLOWED; kind <= WF_LIST_BREAKERS; kind++)
        for (uint32_t times = one_in(5) ? 1 + below(2) : 0; times > 0; times--) {
            const uint32_t length = 1 + below(kind == WF_LIST_BAD_WORD ? 2 : 14);
            request->lists[request->lists_size++] = kind;
            request->lists[request->lists_size++] = length;
            for (uint32_t i = 0; i < length; i++)
                request->lists[request->lists_size++] = below(one_in(2) && vocabulary > 40 ? 40 : vocabulary);
        }
    foretell(model, context, request);
}

/* A request that says only what to continue. */
static struct request plain_request(const wf_model *model, uint32_t prompt_count) {
    struct request request = {.prompt_count = prompt_count, .sampling = greedy};
    for (uint32_t i = 0; i < prompt_count; i++)
        request.prompt[i] = below(model->config.vocabulary);
    return request;
}

/* ---- An engine and the requests given to it ---- */

struct tracked {
    uint32_t id;
    const struct request *request;
    uint32_t received;
    double elapsed_ms; /* of the last event */
    bool cancelled, done;
};

struct run {
    wf_engine *engine;
    int bell;
    struct tracked *tracked; /* [capacity], count of them */
    uint32_t count, capacity;
    uint32_t open;       /* tracked and not done */
    uint32_t first_open; /* all before it are done */
};

static struct run start(const wf_model *model, const wf_engine_options *options) {
    char error[ERROR_BYTES] = "";
    wf_engine *engine = wf_engine_create(model, options, NULL, 0, error, sizeof error);
    if (engine == NULL) {
        printf("an engine can't be made: %s\n", error);
        exit(1);
    }
    static uint8_t letters[2 * 2048];
    static uint32_t offsets[2049];
    for (uint32_t token = 0; token < model->config.vocabulary; token++)
        offsets[token + 1] = offsets[token] + letters_of(token, letters + offsets[token]);
    CHECK(wf_engine_set_vocabulary(engine, letters, offsets, model->config.vocabulary, error, sizeof error) == 0, "%s", error);
    return (struct run){.engine = engine, .bell = wf_engine_doorbell(engine)};
}

static uint32_t submit_to(wf_engine *engine, const struct request *request, char *error, uint32_t error_size) {
    return wf_engine_submit(engine, request->prompt, request->prompt_count, &request->sampling, request->stop_ids,
                            request->stop_count, request->bias_ids, request->bias_values, request->bias_count, request->lists,
                            request->lists_size, (const uint8_t *)form_words[request->form], form_sizes[request->form], error,
                            error_size);
}

static void submit(struct run *run, const struct request *request) {
    char error[ERROR_BYTES] = "";
    const uint32_t id = submit_to(run->engine, request, error, sizeof error);
    CHECK(id != 0, "%s", error);
    if (id == 0)
        return;
    if (run->count == run->capacity) {
        run->capacity = run->capacity * 2 + 64;
        run->tracked = need(realloc(run->tracked, run->capacity * sizeof *run->tracked));
    }
    run->tracked[run->count++] = (struct tracked){.id = id, .request = request};
    run->open++;
}

static void cancel(struct run *run, uint32_t index) {
    run->tracked[index].cancelled = true;
    wf_engine_cancel(run->engine, run->tracked[index].id);
}

/* How requests ended, over all tests: shows that each kind of end was met. */
static uint32_t ended_by_stop, ended_by_length, cancelled_without_tokens, cancelled_with_tokens, cancelled_too_late;

/* Of engines at rest: shows that the full pool and the prefix cache were met. */
static uint64_t all_pauses, all_cached;

static void check_event(struct tracked *tracked, const wf_event *event) {
    const struct request *request = tracked->request;
    CHECK(!tracked->done, "request %u gets an event of kind %u after its end", event->request, event->kind);
    CHECK(event->elapsed_ms >= tracked->elapsed_ms && event->elapsed_ms < 1e6, "elapsed: %g ms after %g ms", event->elapsed_ms,
          tracked->elapsed_ms);
    tracked->elapsed_ms = event->elapsed_ms;
    if (event->kind == WF_EVENT_PROGRESS) {
        CHECK(event->count <= event->token && event->token <= request->prompt_count && tracked->received == 0,
              "progress to %u of %u, %u cached, after %u tokens", event->token, request->prompt_count, event->count,
              tracked->received);
        return;
    }
    if (event->kind == WF_EVENT_TOKEN) {
        const bool right = tracked->received < request->expected_count && event->token == request->expected[tracked->received];
        CHECK(right, "token %u of request %u is %u, not %u", tracked->received, event->request, event->token,
              tracked->received < request->expected_count ? request->expected[tracked->received] : WF_NO_TOKEN);
        tracked->received++;
        return;
    }
    CHECK(event->kind == WF_EVENT_DONE, "kind %u", event->kind);
    tracked->done = true;
    if (event->reason == WF_REASON_CANCELLED) {
        CHECK(tracked->cancelled, "request %u was not cancelled", event->request);
        CHECK(tracked->received < request->expected_count || request->ends_apart, "request %u had ended", event->request);
        *(tracked->received == 0 ? &cancelled_without_tokens : &cancelled_with_tokens) += 1;
        return;
    }
    CHECK(event->reason == request->reason, "request %u ends for reason %u, not %u", event->request, event->reason,
          request->reason);
    CHECK(tracked->received == request->expected_count, "request %u got %u of %u tokens", event->request, tracked->received,
          request->expected_count);
    *(event->reason == WF_REASON_STOP ? &ended_by_stop : &ended_by_length) += 1;
    cancelled_too_late += tracked->cancelled;
}

/* Drains once and checks what comes. Returns the number of events. */
static uint32_t drain(struct run *run, uint32_t capacity) {
    enum { MOST = 4096 };
    static wf_event events[MOST];
    capacity = capacity < MOST ? capacity : MOST;
    const uint32_t count = wf_engine_drain(run->engine, events, capacity);
    CHECK(count <= capacity, "%u events in a buffer of %u", count, capacity);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = run->first_open;
        while (at < run->count && run->tracked[at].id != events[i].request)
            at++;
        CHECK(at < run->count, "an event of request %u, which has none to come", events[i].request);
        if (at == run->count)
            continue;
        check_event(&run->tracked[at], &events[i]);
        run->open -= run->tracked[at].done;
        while (run->first_open < run->count && run->tracked[run->first_open].done)
            run->first_open++;
    }
    return count;
}

/* Whether the doorbell is or becomes readable. */
static bool bell_rings(const struct run *run, int patience_ms) {
    struct pollfd poll_bell = {.fd = run->bell, .events = POLLIN};
    return poll(&poll_bell, 1, patience_ms) == 1 && (poll_bell.revents & POLLIN) != 0;
}

/* Reads up to `most` bytes of the doorbell; their number, 0 also at the engine's end. */
static uint32_t read_bell(const struct run *run, uint32_t most) {
    uint8_t bytes[512];
    const ssize_t count = read(run->bell, bytes, most < sizeof bytes ? most : sizeof bytes);
    return count > 0 ? (uint32_t)count : 0;
}

/* Does as the server does (wait, read, drain) until all requests have ended; the engine must then be at rest. Each
 * wake-up reads `bytes` bytes at most and drains once, up to `capacity` events. */
static void settle(struct run *run, uint32_t bytes, uint32_t capacity) {
    while (run->open > 0) {
        const bool rung = bell_rings(run, PATIENCE_MS);
        CHECK(rung, "%u of %u requests get no more events", run->open, run->count);
        if (!rung) {
            check_report();
            exit(1);
        }
        read_bell(run, bytes);
        drain(run, capacity);
    }
    CHECK(drain(run, 64) == 0, "events after the end");
    wf_engine_stats stats;
    wf_engine_read_stats(run->engine, &stats);
    CHECK(stats.running == 0 && stats.waiting == 0 && stats.blocks_used == 0, "%u running, %u waiting and %u blocks used at rest",
          stats.running, stats.waiting, stats.blocks_used);
    all_pauses += stats.pauses;
    all_cached += stats.cached_tokens;
}

static void stop(struct run *run) {
    wf_engine_destroy(run->engine);
    uint8_t byte;
    if (run->bell >= 0) {
        while (read(run->bell, &byte, 1) == 1)
            continue;
        CHECK(read(run->bell, &byte, 1) == 0, "the doorbell's reader does not learn of the engine's end");
        close(run->bell);
    }
    free(run->tracked);
    *run = (struct run){.bell = -1};
}

/* Waits until the engine has filled much of the room for its events, and then until this process does nothing, as when there is no more.
 * Good for engines with one thread: workers spin. */
static void wait_for_rest(const struct run *run) {
    wf_engine_stats stats = {0};
    for (uint32_t waited_ms = 0; stats.generated_tokens < RING_EVENTS / 2 && waited_ms < PATIENCE_MS; waited_ms++) {
        wf_engine_read_stats(run->engine, &stats);
        usleep(1000);
    }
    for (uint32_t quiet = 0, rounds = 0; quiet < 3 && rounds < 2000; rounds++) {
        struct timespec before, after;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
        usleep(15000);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
        const double used_ms = (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) * 1e-6;
        quiet = used_ms < 1.0 ? quiet + 1 : 0;
    }
}

/* ---- The same tokens whoever else is served ---- */

static void test_crowd(void) {
    enum { CROWD = 32 };
    static struct request requests[CROWD];
    for (size_t which = 0; which < sizeof recipes / sizeof *recipes; which++) {
        wf_model *model = open_model(&recipes[which], WF_NO_TOKEN);
        for (uint32_t i = 0; i < CROWD; i++)
            make_request(model, MODEL_CONTEXT, 30, 12, &requests[i]);
        static const struct {
            uint32_t threads, sequences, batch;
        } layouts[] = {{1, 1, 1}, {2, 1, 7}, {3, 7, 7}, {1, 32, 256}, {2, 32, 0}};
        for (size_t layout = 0; layout < sizeof layouts / sizeof *layouts; layout++) {
            struct run run = start(model, &(wf_engine_options){.threads = layouts[layout].threads,
                                                               .max_sequences = layouts[layout].sequences,
                                                               .batch_tokens = layouts[layout].batch});
            for (uint32_t i = 0; i < CROWD; i++)
                submit(&run, &requests[i]);
            settle(&run, 512, 4096);
            /* Alone, in an engine whose cache others have used. */
            submit(&run, &requests[below(CROWD)]);
            settle(&run, 512, 4096);
            stop(&run);
        }
        wf_model_close(model);
    }
}

/* The likeliest token of the logits of the whole text is what the engine chose, at each of its positions. */
static void test_logits(void) {
    for (size_t which = 0; which < sizeof recipes / sizeof *recipes; which++) {
        wf_model *model = open_model(&recipes[which], WF_NO_TOKEN);
        const uint32_t vocabulary = model->config.vocabulary;
        struct request request = plain_request(model, 3 + below(40));
        request.sampling.max_tokens = 100;
        foretell(model, MODEL_CONTEXT, &request);
        struct run run = start(model, &(wf_engine_options){.threads = 2, .max_sequences = 4});
        submit(&run, &request);
        settle(&run, 512, 4096);
        stop(&run);

        uint32_t tokens[MODEL_CONTEXT];
        const uint32_t count = request.prompt_count + request.expected_count;
        CHECK(request.expected_count == 100, "%u tokens", request.expected_count);
        memcpy(tokens, request.prompt, request.prompt_count * sizeof *tokens);
        memcpy(tokens + request.prompt_count, request.expected, request.expected_count * sizeof *tokens);
        char error[ERROR_BYTES] = "";
        float *logits[3];
        for (uint32_t threads = 1; threads <= 3; threads++) {
            logits[threads - 1] = need(calloc((size_t)count * vocabulary, sizeof(float)));
            CHECK(wf_model_logits(model, threads, tokens, count, logits[threads - 1], error, sizeof error) == 0, "%s", error);
            CHECK(memcmp(logits[threads - 1], logits[0], (size_t)count * vocabulary * sizeof(float)) == 0,
                  "logits with %u threads differ from those with one", threads);
        }
        for (uint32_t position = request.prompt_count - 1; position + 1 < count; position++) {
            const float *row = logits[0] + (size_t)position * vocabulary;
            uint32_t best = 0;
            for (uint32_t token = 1; token < vocabulary; token++)
                best = row[token] > row[best] ? token : best;
            CHECK(best == tokens[position + 1], "position %u: %u, not %u", position, tokens[position + 1], best);
        }
        for (uint32_t i = 0; i < 3; i++)
            free(logits[i]);

        const struct {
            uint32_t threads, count, token;
        } refused[] = {{0, 1, 0}, {257, 1, 0}, {1, 0, 0}, {1, MODEL_CONTEXT + 1, 0}, {1, UINT32_MAX, 0}, {1, 1, vocabulary}};
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
            float unused;
            CHECK(wf_model_logits(model, refused[i].threads, &refused[i].token, refused[i].count, &unused, error, sizeof error) ==
                          -1 &&
                      check_is_line(error, sizeof error),
                  "case %zu: %s", i, error);
        }
        wf_model_close(model);
    }
}

/* A request that makes the model compute NaN must not change what others get, now or in the blocks it leaves behind. */
static void test_poison(void) {
    enum { POISONED = 9, REQUESTS = 16 };
    wf_model *model = open_model(&recipes[2], POISONED);
    static struct request requests[REQUESTS];
    for (uint32_t i = 0; i < REQUESTS; i++) {
        requests[i] = plain_request(model, 2 + below(60));
        requests[i].sampling.max_tokens = 20;
        for (uint32_t at = 0; at < requests[i].prompt_count; at++)
            if (requests[i].prompt[at] == POISONED)
                requests[i].prompt[at]++;
        requests[i].bias_ids[0] = POISONED;
        requests[i].bias_values[0] = -1e30f;
        requests[i].bias_count = 1;
        if (i % 2 == 0)
            requests[i].prompt[1] = POISONED;
        foretell(model, MODEL_CONTEXT, &requests[i]);
    }
    struct run run = start(model, &(wf_engine_options){.threads = 2, .max_sequences = 4, .kv_tokens = MODEL_CONTEXT});
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < REQUESTS; i++)
            submit(&run, &requests[i]);
        settle(&run, 512, 4096);
    }
    stop(&run);
    wf_model_close(model);
}

/* ---- Random schedules ---- */

static void test_schedules(uint32_t schedules) {
    enum { TEMPLATES = 128, CONTEXT = 80 };
    static struct request templates[TEMPLATES];
    wf_model *model = open_model(&tiny, WF_NO_TOKEN);
    /* Three prompts in four begin like one of a few others; a block is 32 tokens. */
    static uint32_t beginnings[4][CONTEXT];
    for (uint32_t i = 0; i < 4 * CONTEXT; i++)
        beginnings[i / CONTEXT][i % CONTEXT] = below(model->config.vocabulary);
    for (uint32_t i = 0; i < TEMPLATES; i++) {
        make_request(model, CONTEXT, one_in(2) ? 16 : CONTEXT - 1, 12, &templates[i]);
        if (one_in(4))
            continue;
        memcpy(templates[i].prompt, beginnings[below(4)], below(templates[i].prompt_count + 1) * sizeof(uint32_t));
        templates[i].sampling.scope = below(2);
        foretell(model, CONTEXT, &templates[i]);
    }
    const uint64_t pauses_before = all_pauses, cached_before = all_cached;

    struct run run = {0};
    for (uint32_t schedule = 0; schedule < schedules; schedule++) {
        if (run.engine == NULL) {
            const uint32_t sequences = 1 + below(one_in(4) ? 24 : 6);
            run = start(model, &(wf_engine_options){.threads = one_in(4) ? 1 + below(3) : 1,
                                                    .max_sequences = sequences,
                                                    .context = CONTEXT,
                                                    .kv_tokens = CONTEXT + (one_in(2) ? 0 : below(CONTEXT * sequences)),
                                                    .batch_tokens = 1 + below(one_in(2) ? 8 : 100)});
        }
        const uint32_t total = 1 + below(24), before = run.count;
        const bool abandon = one_in(16);
        const uint32_t drains = below(8), cancels = below(4); /* out of 16 actions each */
        const bool reads = one_in(2);
        for (uint32_t actions = 0; run.count - before < total || actions < total; actions++) {
            const uint32_t action = below(16);
            if (action < drains && reads)
                read_bell(&run, 512);
            if (action < drains)
                drain(&run, one_in(8) ? 0 : 1 + below(one_in(2) ? 4 : 100));
            else if (action < drains + cancels && run.count > 0)
                cancel(&run, one_in(4) ? below(run.count) : run.count - 1 - below(run.count < 24 ? run.count : 24));
            else if (action < 12 && run.count - before < total)
                submit(&run, &templates[below(TEMPLATES)]);
            else if (action == 14)
                usleep(below(200));
            else if (action == 15)
                wf_engine_cancel(run.engine, one_in(2) ? 0 : run.count + 1 + below(1000));
        }
        if (abandon) {
            stop(&run);
            continue;
        }
        settle(&run, one_in(2) ? 1 : 512, one_in(2) ? 1 + below(16) : 4096);
        if (one_in(12))
            stop(&run);
    }
    if (run.engine != NULL)
        stop(&run);
    wf_model_close(model);
    CHECK(schedules < 100 || (cancelled_without_tokens > 0 && cancelled_with_tokens > 0 && cancelled_too_late > 0),
          "cancelled without tokens %u, with %u, too late %u", cancelled_without_tokens, cancelled_with_tokens, cancelled_too_late);
    CHECK(ended_by_stop > 0 && ended_by_length > 0, "%u stops, %u lengths", ended_by_stop, ended_by_length);
    CHECK(schedules < 100 || (all_pauses > pauses_before && all_cached > cached_before), "%llu pauses, %llu cached tokens",
          (unsigned long long)(all_pauses - pauses_before), (unsigned long long)(all_cached - cached_before));
}

/* ---- Prefixes, log-probabilities, the 8-bit cache ---- */

/* Runs one request alone and gives its first progress' cached tokens. */
static uint32_t cached_tokens(struct run *run, const struct request *request) {
    wf_engine_stats before, after;
    wf_engine_read_stats(run->engine, &before);
    submit(run, request);
    settle(run, 512, 4096);
    wf_engine_read_stats(run->engine, &after);
    CHECK(after.prompt_tokens - before.prompt_tokens == request->prompt_count, "%llu prompt tokens",
          (unsigned long long)(after.prompt_tokens - before.prompt_tokens));
    return (uint32_t)(after.cached_tokens - before.cached_tokens);
}

static void test_prefixes(void) {
    wf_model *model = open_model(&recipes[0], WF_NO_TOKEN);
    static struct request first, second, other;
    first = plain_request(model, 100);
    first.sampling.max_tokens = 40;
    foretell(model, MODEL_CONTEXT, &first);
    struct run run = start(model, &(wf_engine_options){.threads = 2, .max_sequences = 8});
    CHECK(cached_tokens(&run, &first) == 0, "an empty cache has something");
    CHECK(cached_tokens(&run, &first) == 96, "the full blocks of an equal prompt are not found");

    /* A second turn: prompt, answer and something new. All full blocks of prompt and answer are there. */
    second = first;
    memcpy(second.prompt + 100, first.expected, first.expected_count * sizeof(uint32_t));
    second.prompt_count = 100 + first.expected_count + 10;
    for (uint32_t i = 0; i < 10; i++)
        second.prompt[100 + first.expected_count + i] = i;
    foretell(model, MODEL_CONTEXT, &second);
    CHECK(cached_tokens(&run, &second) == (100 + first.expected_count - 1) / WF_KV_BLOCK * WF_KV_BLOCK,
          "a second turn starts anew");

    /* Equal tokens behind another beginning, and the same in another scope, are not the same. */
    other = first;
    other.prompt[0] = (other.prompt[0] + 1) % model->config.vocabulary;
    foretell(model, MODEL_CONTEXT, &other);
    CHECK(cached_tokens(&run, &other) == 0, "a prefix is found behind another beginning");
    other = first;
    other.sampling.scope = 7;
    CHECK(cached_tokens(&run, &other) == 0, "another scope's prefix is found");

    /* Eight equal requests at once compute their prompt once, to the last token but one. */
    other = plain_request(model, 75);
    other.sampling.max_tokens = 30;
    foretell(model, MODEL_CONTEXT, &other);
    wf_engine_stats before, after;
    wf_engine_read_stats(run.engine, &before);
    for (uint32_t i = 0; i < 8; i++)
        submit(&run, &other);
    settle(&run, 512, 4096);
    wf_engine_read_stats(run.engine, &after);
    CHECK(after.cached_tokens - before.cached_tokens >= 7 * 64 && after.prompt_tokens - before.prompt_tokens == 8 * 75,
          "%llu of 525 tokens are shared", (unsigned long long)(after.cached_tokens - before.cached_tokens));
    stop(&run);
    wf_model_close(model);
}

/* The log-probabilities of prompt and answer are those of wf_model_logits' softmax, whoever else is served. */
static void test_logprobs(void) {
    enum { TOP = 5 };
    wf_model *model = open_model(&recipes[1], WF_NO_TOKEN);
    const uint32_t vocabulary = model->config.vocabulary;
    static struct request request;
    request = plain_request(model, 70);
    request.sampling.max_tokens = 20;
    request.sampling.logprobs = request.sampling.prompt_logprobs = 1;
    request.sampling.top_logprobs = TOP;
    request.sampling.repetition_penalty = 1.3f; /* changes the choice, not what is reported */
    foretell(model, MODEL_CONTEXT, &request);
    const uint32_t count = 70 + request.expected_count;
    uint32_t tokens[MODEL_CONTEXT];
    memcpy(tokens, request.prompt, 70 * sizeof *tokens);
    memcpy(tokens + 70, request.expected, request.expected_count * sizeof *tokens);
    char error[ERROR_BYTES] = "";
    float *logits = need(calloc((size_t)count * vocabulary, sizeof *logits));
    CHECK(wf_model_logits(model, 1, tokens, count, logits, error, sizeof error) == 0, "%s", error);

    struct run run = start(model, &(wf_engine_options){.threads = 2, .max_sequences = 3, .batch_tokens = 16});
    static struct request crowd;
    crowd = plain_request(model, 50);
    foretell(model, MODEL_CONTEXT, &crowd);
    submit(&run, &crowd);
    const uint32_t id = submit_to(run.engine, &request, error, sizeof error);
    uint32_t place = 1, alternatives = 0;
    bool done = false;
    while (!done && bell_rings(&run, PATIENCE_MS)) {
        wf_event events[64];
        read_bell(&run, 512);
        const uint32_t drained = wf_engine_drain(run.engine, events, 64);
        for (uint32_t i = 0; i < drained; i++) {
            const wf_event *event = &events[i];
            if (event->request != id) {
                check_event(&run.tracked[0], event);
                run.open -= run.tracked[0].done;
                continue;
            }
            done = done || event->kind == WF_EVENT_DONE;
            if (event->kind == WF_EVENT_DONE || event->kind == WF_EVENT_PROGRESS)
                continue;
            CHECK(event->kind == (alternatives > 0 ? WF_EVENT_ALTERNATIVE
                                  : place < 70     ? WF_EVENT_PROMPT
                                                   : WF_EVENT_TOKEN),
                  "kind %u at place %u", event->kind, place);
            const uint32_t at = event->kind == WF_EVENT_ALTERNATIVE ? place - 1 : place;
            const float *row = logits + (size_t)(at - 1) * vocabulary;
            double largest = -INFINITY, sum = 0;
            for (uint32_t token = 0; token < vocabulary; token++)
                largest = fmax(largest, (double)row[token]);
            for (uint32_t token = 0; token < vocabulary; token++)
                sum += exp((double)row[token] - largest);
            const double expected = (double)row[event->token] - largest - log(sum);
            CHECK(fabs((double)event->logprob - expected) < 1e-4, "place %u token %u: %g, not %g", at, event->token,
                  (double)event->logprob, expected);
            if (event->kind == WF_EVENT_ALTERNATIVE) {
                uint32_t better = 0; /* tokens that rank before it */
                for (uint32_t token = 0; token < vocabulary; token++)
                    better += row[token] > row[event->token] || (row[token] == row[event->token] && token < event->token);
                CHECK(better == TOP - alternatives, "alternative %u is in place %u", TOP - alternatives, better);
                alternatives--;
                continue;
            }
            CHECK(event->token == tokens[place], "place %u: %u, not %u", place, event->token, tokens[place]);
            alternatives = event->count;
            CHECK(alternatives == TOP, "%u alternatives", alternatives);
            place++;
        }
    }
    CHECK(place == count, "%u places of %u", place, count);
    settle(&run, 512, 4096);

    /* Without an answer: only the prompt is computed, and may fill the context. */
    request = plain_request(model, MODEL_CONTEXT);
    request.sampling.max_tokens = 0;
    request.expected_count = 0;
    request.reason = WF_REASON_LENGTH;
    submit(&run, &request);
    settle(&run, 512, 4096);
    stop(&run);
    free(logits);
    wf_model_close(model);
}

/* With fewer bits in the cache a request's tokens may be others, but they are the same alone and in a crowd. */
static void test_kv_kind(uint32_t kind) {
    enum { REQUESTS = 12 };
    wf_model *model = open_model(&recipes[2], WF_NO_TOKEN);
    static struct request requests[REQUESTS];
    char error[ERROR_BYTES] = "";
    struct run alone = start(model, &(wf_engine_options){.threads = 1, .max_sequences = 1, .batch_tokens = 1, .kv_kind = kind});
    for (uint32_t i = 0; i < REQUESTS; i++) {
        requests[i] = plain_request(model, 1 + below(120));
        requests[i].sampling.max_tokens = 1 + below(60);
        requests[i].sampling.temperature = i % 2 == 0 ? 0.0f : 0.9f;
        requests[i].sampling.scope = i; /* nothing is shared */
        const uint32_t id = submit_to(alone.engine, &requests[i], error, sizeof error);
        CHECK(id != 0, "%s", error);
        while (requests[i].reason == 0 && bell_rings(&alone, PATIENCE_MS)) {
            wf_event events[64];
            read_bell(&alone, 512);
            const uint32_t drained = wf_engine_drain(alone.engine, events, 64);
            for (uint32_t at = 0; at < drained; at++) {
                if (events[at].kind == WF_EVENT_TOKEN)
                    requests[i].expected[requests[i].expected_count++] = events[at].token;
                if (events[at].kind == WF_EVENT_DONE)
                    requests[i].reason = events[at].reason;
            }
        }
    }
    stop(&alone);
    struct run crowd =
        start(model, &(wf_engine_options){.threads = 3, .max_sequences = 5, .kv_tokens = MODEL_CONTEXT, .kv_kind = kind});
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < REQUESTS; i++) {
            requests[i].sampling.scope = 0;
            submit(&crowd, &requests[i]);
        }
        settle(&crowd, 512, 4096);
    }
    stop(&crowd);
    wf_model_close(model);
}

static void test_q8(void) { test_kv_kind(WF_KV_KIND_Q8); }

static void test_f16(void) { test_kv_kind(WF_KV_KIND_F16); }

/* A cancelled request ends soon, not when it is complete; the place goes to the next. */
static void test_cancel(void) {
    wf_model *model = open_model(&recipes[1], WF_NO_TOKEN);
    struct request request = plain_request(model, 4);
    foretell(model, MODEL_CONTEXT, &request);
    struct run run = start(model, &(wf_engine_options){.threads = 1, .max_sequences = 1});
    /* An attempt fails only when this thread sleeps through the whole answer. */
    const uint32_t before = cancelled_with_tokens;
    for (uint32_t attempt = 0; attempt < 50 && cancelled_with_tokens == before; attempt++) {
        submit(&run, &request);
        submit(&run, &request);
        const uint32_t first = run.count - 2;
        while (run.tracked[first].received == 0 && bell_rings(&run, PATIENCE_MS)) {
            read_bell(&run, 512);
            drain(&run, 1);
        }
        cancel(&run, first);
        settle(&run, 512, 4096);
    }
    CHECK(cancelled_with_tokens > before, "a cancelled request runs to its end");
    stop(&run);
    wf_model_close(model);
}

/* ---- Several threads of the client ---- */

struct client {
    wf_engine *engine;
    const struct request *templates;
    uint32_t template_count;
    struct check_random random;
    uint32_t count;            /* requests to submit */
    struct tracked *submitted; /* [count] */
};

static void *run_client(void *argument) {
    struct client *client = argument;
    char error[ERROR_BYTES];
    for (uint32_t i = 0; i < client->count; i++) {
        const struct request *request = &client->templates[check_below(&client->random, client->template_count)];
        client->submitted[i] = (struct tracked){.id = submit_to(client->engine, request, error, sizeof error), .request = request};
        if (check_below(&client->random, 4) == 0) {
            struct tracked *unlucky = &client->submitted[check_below(&client->random, i + 1)];
            unlucky->cancelled = true;
            wf_engine_cancel(client->engine, unlucky->id);
        }
        if (check_below(&client->random, 8) == 0)
            usleep((useconds_t)check_below(&client->random, 300));
    }
    return NULL;
}

static void test_clients(void) {
    enum { CLIENTS = 3, EACH = 150, TEMPLATES = 32, EVENTS_MOST = CLIENTS * EACH * (MODEL_CONTEXT + 1) };
    static struct request templates[TEMPLATES];
    static struct tracked submitted[CLIENTS][EACH];
    wf_model *model = open_model(&tiny, WF_NO_TOKEN);
    for (uint32_t i = 0; i < TEMPLATES; i++)
        make_request(model, MODEL_CONTEXT, 20, 20, &templates[i]);
    wf_event *events = need(calloc(EVENTS_MOST, sizeof *events));
    struct run run = start(model, &(wf_engine_options){.threads = 2, .max_sequences = 12, .kv_tokens = MODEL_CONTEXT * 2});
    pthread_t threads[CLIENTS];
    struct client clients[CLIENTS];
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){run.engine, templates, TEMPLATES, {check_next(&source) | 1}, EACH, submitted[i]};
        if (pthread_create(&threads[i], NULL, run_client, &clients[i]) != 0)
            exit(1);
    }
    uint32_t count = 0, done = 0;
    while (done < CLIENTS * EACH) {
        if (!bell_rings(&run, PATIENCE_MS)) {
            CHECK(false, "%u of %u requests are done", done, CLIENTS * EACH);
            break;
        }
        read_bell(&run, 512);
        const uint32_t room = EVENTS_MOST - count, capacity = 1 + below(200);
        const uint32_t drained = wf_engine_drain(run.engine, events + count, capacity < room ? capacity : room);
        for (uint32_t i = 0; i < drained; i++)
            done += events[count++].kind == WF_EVENT_DONE;
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < count; i++) {
        struct tracked *tracked = NULL;
        for (uint32_t client = 0; client < CLIENTS; client++)
            for (uint32_t at = 0; at < EACH; at++)
                if (submitted[client][at].id == events[i].request)
                    tracked = &submitted[client][at];
        CHECK(tracked != NULL, "an event of request %u", events[i].request);
        if (tracked != NULL)
            check_event(tracked, &events[i]);
    }
    stop(&run);
    free(events);
    wf_model_close(model);
}

/* ---- Events and the doorbell ---- */

/* Requests that fill the context of the tiny model. */
enum { LONG_TEMPLATES = 8 };
static struct request long_templates[LONG_TEMPLATES];

static wf_model *open_tiny_with_long_templates(void) {
    wf_model *model = open_model(&tiny, WF_NO_TOKEN);
    for (uint32_t i = 0; i < LONG_TEMPLATES; i++) {
        long_templates[i] = plain_request(model, 1 + i);
        long_templates[i].sampling.temperature = 1.5f;
        long_templates[i].sampling.seed = i;
        foretell(model, MODEL_CONTEXT, &long_templates[i]);
    }
    return model;
}

/* Nothing is lost while nobody drains for a long time, and then the engine goes on. */
static void test_late_reader(void) {
    wf_model *model = open_tiny_with_long_templates();
    struct run run = start(model, &(wf_engine_options){.threads = 1, .max_sequences = 24});
    const uint32_t requests = RING_EVENTS / MODEL_CONTEXT * 2;
    for (uint32_t i = 0; i < requests; i++)
        submit(&run, &long_templates[i % LONG_TEMPLATES]);
    wait_for_rest(&run);
    CHECK(bell_rings(&run, 0), "events wait but the doorbell is silent");
    uint32_t waiting = 0, drained;
    while ((drained = drain(&run, 1 + below(50))) > 0 && waiting < RING_EVENTS / 2)
        waiting += drained;
    CHECK(waiting >= RING_EVENTS / 2, "only %u events waited", waiting);
    settle(&run, 512, 4096);
    submit(&run, &long_templates[0]);
    settle(&run, 512, 4096);
    stop(&run);
    wf_model_close(model);
}

/* Cancellations whose ends have to be reported when events have just filled up the room that a step may need. */
static void test_cancel_at_a_full_ring(void) {
    enum { SEQUENCES = 256 };
    wf_model *model = open_tiny_with_long_templates();
    static struct request one_token;
    one_token = plain_request(model, 1);
    one_token.sampling.max_tokens = 1;
    foretell(model, MODEL_CONTEXT, &one_token);
    struct run run = start(model, &(wf_engine_options){.threads = 1, .max_sequences = SEQUENCES});
    for (uint32_t i = 0; i < SEQUENCES; i++)
        submit(&run, &long_templates[i % LONG_TEMPLATES]);
    wait_for_rest(&run);
    for (uint32_t i = 0; i < SEQUENCES; i++)
        cancel(&run, i);
    for (uint32_t i = 0; i < 2 * SEQUENCES; i++)
        submit(&run, &one_token);
    for (uint32_t i = 0; i < SEQUENCES / 2; i++)
        cancel(&run, 2 * SEQUENCES + i);
    /* One by one, so that the engine goes on at the first moment when a step may fit. */
    for (uint32_t i = 0; i < 3 * SEQUENCES; i++) {
        drain(&run, 1);
        usleep(50);
    }
    wait_for_rest(&run);
    settle(&run, 512, 4096);
    stop(&run);
    wf_model_close(model);
}

static void test_doorbell(void) {
    wf_model *model = open_tiny_with_long_templates();
    struct run run = start(model, &(wf_engine_options){.threads = 1, .max_sequences = 3});
    CHECK((fcntl(run.bell, F_GETFL) & O_NONBLOCK) != 0, "the doorbell blocks");
    CHECK((fcntl(run.bell, F_GETFD) & FD_CLOEXEC) != 0, "child processes inherit the doorbell");
    CHECK(!bell_rings(&run, 20), "the doorbell rings without events");

    /* A wake-up for each batch of events, whatever the reader takes at once: one byte and one event at the least. */
    static const uint32_t takes[][2] = {{1, 1}, {1, 3}, {512, 1}, {512, 4096}, {1, 4096}};
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        for (uint32_t j = 0; j < 6; j++)
            submit(&run, &long_templates[below(LONG_TEMPLATES)]);
        settle(&run, takes[i][0], takes[i][1]);
        while (read_bell(&run, 512) > 0)
            continue;
        CHECK(!bell_rings(&run, 20), "the doorbell rings without events");
    }
    /* Many short requests, each awaited: the engine falls asleep and is woken each time. */
    static struct request short_request;
    short_request = plain_request(model, 1);
    short_request.sampling.max_tokens = 1;
    foretell(model, MODEL_CONTEXT, &short_request);
    for (uint32_t i = 0; i < 1000; i++) {
        submit(&run, &short_request);
        settle(&run, 1, 4096);
    }
    /* Cancelled at once: often the engine finds the request waiting and cancelled, and has only its end to report. */
    for (uint32_t i = 0; i < 500; i++) {
        submit(&run, &long_templates[0]);
        cancel(&run, run.count - 1);
        settle(&run, 512, 4096);
    }
    /* Nobody reads the bytes: the socket fills up, the events still come, and the bell rings afterwards. */
    for (uint32_t i = 0; i < 12; i++)
        submit(&run, &long_templates[below(LONG_TEMPLATES)]);
    while (run.open > 0)
        if (drain(&run, 1) == 0)
            sched_yield();
    while (read_bell(&run, 512) > 0)
        continue;
    submit(&run, &long_templates[0]);
    settle(&run, 1, 4096);

    /* The reader's end is closed: events still come to those who ask. */
    close(run.bell);
    run.bell = -1;
    for (uint32_t i = 0; i < 12; i++)
        submit(&run, &long_templates[below(LONG_TEMPLATES)]);
    while (run.open > 0)
        if (drain(&run, 64) == 0)
            sched_yield();
    stop(&run);
    wf_model_close(model);
}

/* ---- Refusals ---- */

static void refuse_options(const wf_model *model, wf_engine_options options, const char *what) {
    char error[ERROR_BYTES];
    memset(error, 'x', sizeof error);
    wf_engine *engine = wf_engine_create(model, &options, NULL, 0, error, sizeof error);
    CHECK(engine == NULL && check_is_line(error, sizeof error), "%s: %.100s", what, error);
    if (engine != NULL)
        close(wf_engine_doorbell(engine));
    wf_engine_destroy(engine);
    CHECK(wf_engine_create(model, &options, NULL, 0, NULL, 0) == NULL, "%s, without a buffer", what);
}

/* Changes a good request in one way and expects a refusal. */
#define REFUSE(change)                                                                                                             \
    do {                                                                                                                           \
        struct request request = good;                                                                                             \
        change;                                                                                                                    \
        char error[ERROR_BYTES];                                                                                                   \
        memset(error, 'x', sizeof error);                                                                                          \
        const uint32_t id = submit_to(run.engine, &request, error, sizeof error);                                                  \
        CHECK(id == 0 && check_is_line(error, sizeof error), "%s: %.100s", #change, error);                                        \
        CHECK(submit_to(run.engine, &request, NULL, 0) == 0, "%s, without a buffer", #change);                                     \
    } while (0)

static void test_refusals(void) {
    wf_model *model = open_model(&recipes[0], WF_NO_TOKEN);
    const uint32_t vocabulary = model->config.vocabulary;
    const wf_engine_options fine = {.threads = 1, .max_sequences = 2};
    static const struct {
        uint32_t threads, sequences, context, kv_tokens, batch, kv_kind, head, zeros;
    } bad[] = {
        {0, 1, 0, 0, 0, 0, 0, 0},          {257, 1, 0, 0, 0, 0, 0, 0},
        {UINT32_MAX, 1, 0, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 0, 0, 0, 0},
        {1, 257, 0, 0, 0, 0, 0, 0},        {1, UINT32_MAX, 0, 0, 0, 0, 0, 0},
        {1, 1, 1, 0, 0, 0, 0, 0},          {1, 1, MODEL_CONTEXT + 1, 0, 0, 0, 0, 0},
        {1, 1, UINT32_MAX, 0, 0, 0, 0, 0}, {1, 1, 0, MODEL_CONTEXT - 1, 0, 0, 0, 0},
        {1, 1, 64, 63, 0, 0, 0, 0},        {1, 1, 0, 1, 0, 0, 0, 0},
        {1, 1, 0, 0, 4097, 0, 0, 0},       {1, 1, 0, 0, UINT32_MAX, 0, 0, 0},
        {1, 1, 0, 0, 0, 3, 0, 0},          {1, 1, 0, 0, 0, 0, 2, 0},
        {1, 1, 0, 0, 0, 0, 0, 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char what[32];
        snprintf(what, sizeof what, "options %zu", i);
        refuse_options(model,
                       (wf_engine_options){bad[i].threads, bad[i].sequences, bad[i].context, bad[i].kv_tokens, bad[i].batch,
                                           bad[i].kv_kind, bad[i].head, bad[i].zeros},
                       what);
    }

    struct run run = start(model, &fine);
    struct request good = plain_request(model, 5);
    good.sampling.max_tokens = 3;
    foretell(model, MODEL_CONTEXT, &good);
    REFUSE(request.prompt_count = 0);
    REFUSE(request.prompt_count = MODEL_CONTEXT);
    REFUSE(request.prompt_count = MODEL_CONTEXT + 1);
    REFUSE(request.prompt_count = UINT32_MAX);
    REFUSE(request.prompt[0] = vocabulary);
    REFUSE(request.prompt[4] = UINT32_MAX);
    REFUSE((request.stop_ids[0] = vocabulary, request.stop_count = 1));
    REFUSE((request.stop_ids[7] = UINT32_MAX, request.stop_count = 8));
    REFUSE(request.stop_count = UINT32_MAX);
    REFUSE((request.bias_ids[0] = vocabulary, request.bias_count = 1));
    REFUSE((request.bias_ids[3] = UINT32_MAX, request.bias_count = 4));
    REFUSE(request.bias_count = UINT32_MAX);
    REFUSE((request.bias_values[0] = NAN, request.bias_count = 1));
    REFUSE((request.bias_values[1] = INFINITY, request.bias_count = 2));
    REFUSE((request.bias_values[2] = -INFINITY, request.bias_count = 3));
    REFUSE(request.sampling.top_logprobs = WF_TOP_LOGPROBS_MAX + 1);
    REFUSE(request.sampling.scope = UINT64_C(1) << 63);
    REFUSE(request.sampling.temperature = -0.1f);
    REFUSE(request.sampling.temperature = 100.1f);
    REFUSE(request.sampling.temperature = NAN);
    REFUSE(request.sampling.temperature = INFINITY);
    REFUSE(request.sampling.top_p = -0.1f);
    REFUSE(request.sampling.top_p = 1.1f);
    REFUSE(request.sampling.top_p = NAN);
    REFUSE(request.sampling.min_p = -0.1f);
    REFUSE(request.sampling.min_p = 1.1f);
    REFUSE(request.sampling.min_p = NAN);
    REFUSE(request.sampling.repetition_penalty = 0.0f);
    REFUSE(request.sampling.repetition_penalty = -1.0f);
    REFUSE(request.sampling.repetition_penalty = NAN);
    REFUSE(request.sampling.repetition_penalty = INFINITY);
    REFUSE(request.sampling.frequency_penalty = NAN);
    REFUSE(request.sampling.frequency_penalty = INFINITY);
    REFUSE(request.sampling.presence_penalty = NAN);
    REFUSE(request.sampling.presence_penalty = -INFINITY);
    /* Grammars that are none, and a second vocabulary. */
    char line[ERROR_BYTES] = "";
    const uint32_t offsets[] = {0, 0};
    CHECK(wf_engine_submit(run.engine, good.prompt, good.prompt_count, &good.sampling, NULL, 0, NULL, NULL, 0, NULL, 0,
                           (const uint8_t *)form_words[1], form_sizes[1] - 4, line, sizeof line) == 0 &&
              check_is_line(line, sizeof line),
          "half a grammar");
    CHECK(wf_engine_set_vocabulary(run.engine, (const uint8_t *)"", offsets, 1, line, sizeof line) == -1, "a second vocabulary");
    wf_engine *bare = wf_engine_create(model, &(wf_engine_options){.threads = 1, .max_sequences = 1}, NULL, 0, line, sizeof line);
    close(wf_engine_doorbell(bare));
    CHECK(wf_engine_submit(bare, good.prompt, good.prompt_count, &good.sampling, NULL, 0, NULL, NULL, 0, NULL, 0,
                           (const uint8_t *)form_words[1], form_sizes[1], line, sizeof line) == 0 &&
              check_is_line(line, sizeof line),
          "a grammar without a vocabulary");
    wf_engine_destroy(bare);
    /* Counts that can't be right are refused before the lists are read. */
    uint32_t *short_list = need(calloc(4, sizeof *short_list));
    float *short_values = need(calloc(4, sizeof *short_values));
    CHECK(wf_engine_submit(run.engine, good.prompt, good.prompt_count, &good.sampling, short_list, UINT32_MAX, NULL, NULL, 0, NULL,
                           0, NULL, 0, NULL, 0) == 0,
          "a huge count of stop ids");
    CHECK(wf_engine_submit(run.engine, good.prompt, good.prompt_count, &good.sampling, NULL, 0, short_list, short_values,
                           vocabulary + 1, NULL, 0, NULL, 0, NULL, 0) == 0,
          "more biases than tokens");
    free(short_list);
    free(short_values);
    /* None of them has left a trace. */
    submit(&run, &good);
    settle(&run, 512, 4096);
    CHECK(wf_engine_submit(run.engine, good.prompt, good.prompt_count, &good.sampling, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, 0,
                           NULL, 0) != 0,
          "no stop ids and biases at all");
    stop(&run);
    wf_engine_destroy(NULL);
    wf_model_close(model);
}

/* More requests than the queue holds: the last is refused, and an engine can be destroyed with all of them. */
static void test_full_queue(void) {
    enum { MOST = 70000 };
    wf_model *model = open_tiny_with_long_templates();
    struct run run = start(model, &(wf_engine_options){.threads = 1, .max_sequences = 256});
    /* Fills the events, so that the queue stands still. */
    for (uint32_t i = 0; i < 512; i++)
        submit(&run, &long_templates[0]);
    wait_for_rest(&run);
    struct request request = plain_request(model, 1);
    request.sampling.max_tokens = 1;
    char error[ERROR_BYTES] = "";
    uint32_t accepted = 0;
    while (accepted < MOST && submit_to(run.engine, &request, error, sizeof error) != 0)
        accepted++;
    CHECK(accepted < MOST && check_is_line(error, sizeof error), "%u requests wait: %s", accepted, error);
    stop(&run);
    wf_model_close(model);
}

/* ---- Ends ---- */

/* Foretells, runs and checks a request; returns its reason and how many tokens it got. */
static uint32_t run_one(struct run *run, const wf_model *model, uint32_t context, struct request *request) {
    foretell(model, context, request);
    submit(run, request);
    settle(run, 512, 4096);
    return request->reason;
}

static void test_ends(void) {
    wf_model *model = open_model(&recipes[0], WF_NO_TOKEN);
    enum { CONTEXT = 70 };
    struct run run = start(model, &(wf_engine_options){.threads = 1, .max_sequences = 2, .context = CONTEXT});

    /* max_tokens and the end of the context, exactly. */
    const uint32_t prompts[] = {1, 31, 32, 33, 63, 64, 65, CONTEXT - 2, CONTEXT - 1};
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        const uint32_t room = CONTEXT - prompts[i], wanted[] = {1, room - 1, room, room + 1, UINT32_MAX};
        for (size_t j = 0; j < sizeof wanted / sizeof *wanted; j++) {
            if (wanted[j] == 0)
                continue;
            struct request *request = need(malloc(sizeof *request));
            *request = plain_request(model, prompts[i]);
            request->sampling.max_tokens = wanted[j];
            CHECK(run_one(&run, model, CONTEXT, request) == WF_REASON_LENGTH, "reason %u", request->reason);
            CHECK(request->expected_count == (wanted[j] < room ? wanted[j] : room), "%u tokens of %u in a room of %u",
                  request->expected_count, wanted[j], room);
            free(request);
        }
    }

    /* The model's own ends, made the likeliest tokens. */
    struct request request = plain_request(model, 5);
    request.bias_ids[0] = SECOND_EOS;
    request.bias_values[0] = 1e4f;
    request.bias_count = 1;
    request.sampling.max_tokens = 12;
    request.sampling.ignore_eos = 0;
    CHECK(run_one(&run, model, CONTEXT, &request) == WF_REASON_STOP && request.expected_count == 1 &&
              request.expected[0] == SECOND_EOS,
          "an end-of-text token is delivered and ends the answer");
    request.sampling.max_tokens = 1;
    CHECK(run_one(&run, model, CONTEXT, &request) == WF_REASON_STOP, "a stop at the last token is a stop");
    request.sampling.max_tokens = 12;
    request.sampling.min_tokens = 5;
    CHECK(run_one(&run, model, CONTEXT, &request) == WF_REASON_STOP && request.expected_count == 6, "min_tokens: %u",
          request.expected_count);
    for (uint32_t i = 0; i < 5; i++)
        CHECK(request.expected[i] != FIRST_EOS && request.expected[i] != SECOND_EOS, "an end at token %u, before min_tokens", i);
    request.sampling.min_tokens = 12;
    CHECK(run_one(&run, model, CONTEXT, &request) == WF_REASON_LENGTH && request.expected_count == 12, "min_tokens to the end");
    request.sampling.min_tokens = UINT32_MAX;
    CHECK(run_one(&run, model, CONTEXT, &request) == WF_REASON_LENGTH && request.expected_count == 12,
          "min_tokens over max_tokens");
    request.sampling.ignore_eos = 1;
    CHECK(run_one(&run, model, CONTEXT, &request) == WF_REASON_LENGTH && request.expected_count == 12 &&
              request.expected[0] == SECOND_EOS && request.expected[11] == SECOND_EOS,
          "ignore_eos: an ordinary token, whatever min_tokens is");
    request.stop_ids[0] = SECOND_EOS;
    request.stop_count = 1;
    request.sampling.min_tokens = 2;
    CHECK(run_one(&run, model, CONTEXT, &request) == WF_REASON_STOP && request.expected_count == 3,
          "the request's own stop ids count in spite of ignore_eos");

    /* A stop id among the tokens of an answer. */
    request = plain_request(model, 7);
    request.sampling.temperature = 1.0f;
    request.sampling.max_tokens = 30;
    run_one(&run, model, CONTEXT, &request);
    const struct request before = request;
    request.stop_ids[0] = 0;
    request.stop_ids[1] = before.expected[20];
    request.stop_count = 2;
    uint32_t first = 0;
    while (before.expected[first] != request.stop_ids[0] && before.expected[first] != request.stop_ids[1])
        first++;
    CHECK(run_one(&run, model, CONTEXT, &request) == WF_REASON_STOP && request.expected_count == first + 1 &&
              memcmp(request.expected, before.expected, (first + 1) * sizeof *request.expected) == 0,
          "a stop id ends the answer at its first place");

    /* As many stop ids and biases as there are tokens. */
    uint32_t all[64];
    float zeros[64] = {0};
    const uint32_t vocabulary = model->config.vocabulary;
    for (uint32_t i = 0; i < vocabulary; i++)
        all[i] = i;
    const uint32_t id = wf_engine_submit(run.engine, before.prompt, before.prompt_count, &before.sampling, all, vocabulary, all,
                                         zeros, vocabulary, NULL, 0, NULL, 0, NULL, 0);
    CHECK(id != 0, "as many stop ids as tokens");
    wf_event events[16] = {{0}};
    uint32_t count = 0;
    while ((count < 2 || events[count - 1].kind != WF_EVENT_DONE) && bell_rings(&run, PATIENCE_MS)) {
        read_bell(&run, 512);
        count += wf_engine_drain(run.engine, events + count, 16 - count);
    }
    CHECK(events[count - 2].kind == WF_EVENT_TOKEN && events[count - 2].token == before.expected[0] &&
              events[count - 1].reason == WF_REASON_STOP,
          "every token is a stop");
    stop(&run);
    wf_model_close(model);
}

/* ---- Nothing is left behind ---- */

/* Pages of address space. */
static uint64_t pages(void) {
    unsigned long long size = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL && fscanf(file, "%llu", &size) != 1)
        size = 0;
    if (file != NULL)
        fclose(file);
    return size;
}

static void test_remains(void) {
    wf_model *model = open_tiny_with_long_templates();
    const wf_engine_options options = {.threads = 3, .max_sequences = 4, .kv_tokens = 1U << 20};
    const uint64_t cache_bytes = ((uint64_t)options.kv_tokens * (10 + 16)) * sizeof(float);
    uint32_t files = 0, threads = 0;
    uint64_t space = 0;
    for (uint32_t round = 0; round < 24; round++) {
        struct run run = start(model, &options);
        for (uint32_t i = 0; i < 12; i++)
            submit(&run, &long_templates[i % LONG_TEMPLATES]);
        usleep(below(3000));
        if (round % 2 == 0)
            cancel(&run, below(12));
        stop(&run);
        if (round == 3) {
            files = process_files();
            threads = process_threads();
            space = pages();
        }
    }
    CHECK(process_files() == files, "%u open files, %u before", process_files(), files);
    /* A joined thread's entry may linger for a moment. */
    for (uint32_t i = 0; i < 100 && process_threads() > threads; i++)
        usleep(10000);
    CHECK(process_threads() <= threads, "%u threads, %u before", process_threads(), threads);
    CHECK(pages() < space + 4 * cache_bytes / (uint64_t)sysconf(_SC_PAGESIZE), "the address space grew");
    wf_model_close(model);
}

static void timed(const char *name, void (*test)(void)) {
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    test();
    clock_gettime(CLOCK_MONOTONIC, &after);
    if (getenv("WF_TIMES") != NULL)
        printf("%-28s %.2f s\n", name, (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) * 1e-9);
}

static void test_all_schedules(void) {
    const char *number = getenv("WF_SCHEDULES");
    test_schedules(number != NULL ? (uint32_t)strtoul(number, NULL, 10) : SCHEDULES_DEFAULT);
}

/* Rows of a batch that nobody asks for give the others the same keys and values, and are left out of the rest of the last layer. */
static void test_context_rows(void) {
    enum { ROWS = 9 };
    wf_model *model = open_model(&recipes[0], WF_NO_TOKEN);
    const uint32_t hidden = model->config.hidden;
    float *states = need(calloc((size_t)3 * ROWS * hidden, sizeof *states)); /* [run][row][hidden] */
    /* All rows asked for, some of them, and none in the first of two batches. */
    for (uint32_t run = 0; run < 3; run++) {
        char error[ERROR_BYTES] = "";
        wf_kv_cache cache;
        if (wf_kv_create(&cache, &model->config, WF_KV_F32, 1, error, sizeof error) != 0)
            exit(1);
        const uint32_t table[1] = {wf_kv_take(&cache)};
        wf_pool *pool = need(wf_pool_create(2, NULL, 0));
        const wf_forward_setup setup = {model, wf_kernels_active(), pool, &cache, ROWS, 1, WF_KV_BLOCK};
        wf_forward *forward = need(wf_forward_create(&setup, error, sizeof error));
        wf_row rows[ROWS];
        for (uint32_t i = 0; i < ROWS; i++)
            rows[i] = (wf_row){.token = (7 * i + 3) % model->config.vocabulary,
                               .position = i,
                               .table = table,
                               .is_context = run > 0 && i != 2 && i != ROWS - 1};
        const uint32_t first = run == 2 ? 2 : 0;
        if (first > 0)
            wf_forward_run(forward, rows, first);
        wf_forward_run(forward, rows + first, ROWS - first);
        for (uint32_t i = first; i < ROWS; i++)
            wf_forward_state(forward, i - first, states + ((size_t)run * ROWS + i) * hidden);
        wf_forward_destroy(forward);
        wf_pool_destroy(pool);
        wf_kv_destroy(&cache);
    }
    for (uint32_t run = 1; run < 3; run++)
        for (uint32_t i = 2; i < ROWS; i++) {
            const float *expected = states + (size_t)i * hidden, *found = states + ((size_t)run * ROWS + i) * hidden;
            const bool is_asked = i == 2 || i == ROWS - 1;
            CHECK((memcmp(expected, found, hidden * sizeof *found) == 0) == is_asked, "run %u, row %u", run, i);
        }
    free(states);
    wf_model_close(model);
}

/* The embedding of a prompt, whose log-probabilities are asked for as well or not. */
static void embed(const wf_model *model, struct request *request, bool is_scored, float *embedding) {
    char error[ERROR_BYTES] = "";
    struct run run = start(model, &(wf_engine_options){.threads = 2, .max_sequences = 1, .batch_tokens = 16});
    request->sampling.prompt_logprobs = is_scored;
    const uint32_t id = submit_to(run.engine, request, error, sizeof error);
    CHECK(id != 0, "%s", error);
    bool done = false;
    while (!done && bell_rings(&run, PATIENCE_MS)) {
        wf_event events[64];
        read_bell(&run, 512);
        const uint32_t drained = wf_engine_drain(run.engine, events, 64);
        for (uint32_t i = 0; i < drained; i++)
            done = done || events[i].kind == WF_EVENT_DONE;
    }
    const uint32_t hidden = model->config.hidden;
    CHECK(done && wf_engine_take_embedding(run.engine, id, embedding, hidden) == hidden, "no embedding");
    stop(&run);
}

/* An embedding is made of the same tokens when others' states are asked for too. */
static void test_scored_embeddings(void) {
    static const char *const poolings[] = {"cls", "last", "mean"};
    for (uint32_t i = 0; i < 3; i++) {
        struct image *image = image_build(&recipes[0]);
        image_randomise(image, &source);
        char config[64], error[ERROR_BYTES] = "";
        snprintf(config, sizeof config, "{\\\"pooling\\\":\\\"%s\\\",\\\"architecture\\\"", poolings[i]);
        image_replace(image, "{\\\"architecture\\\"", config);
        wf_model *model = wf_model_open_bytes(image->bytes, image->size, "random.wf", error, sizeof error);
        CHECK(model != NULL, "%s", error);
        image_drop(image);
        if (model == NULL)
            continue;
        static struct request request;
        request = plain_request(model, 70);
        request.sampling.max_tokens = 0;
        const size_t bytes = model->config.hidden * sizeof(float);
        float *plain = need(malloc(bytes)), *scored = need(malloc(bytes));
        embed(model, &request, false, plain);
        embed(model, &request, true, scored);
        CHECK(memcmp(plain, scored, bytes) == 0, "%s: another embedding where the prompt is scored", poolings[i]);
        free(plain);
        free(scored);
        wf_model_close(model);
    }
}

int main(void) {
    if (wf_kernels_active() == NULL) {
        printf("WRINKLEFREE_CPU names no kernel tier that this processor can run\n");
        return 1;
    }
    timed("crowd", test_crowd);
    timed("logits", test_logits);
    timed("context rows", test_context_rows);
    timed("scored embeddings", test_scored_embeddings);
    timed("poison", test_poison);
    timed("schedules", test_all_schedules);
    timed("cancel", test_cancel);
    timed("clients", test_clients);
    timed("late reader", test_late_reader);
    timed("prefixes", test_prefixes);
    timed("log-probabilities", test_logprobs);
    timed("8-bit cache", test_q8);
    timed("half precision cache", test_f16);
    timed("cancel at a full ring", test_cancel_at_a_full_ring);
    timed("doorbell", test_doorbell);
    timed("refusals", test_refusals);
    timed("full queue", test_full_queue);
    timed("ends", test_ends);
    timed("remains", test_remains);
    return check_report();
}

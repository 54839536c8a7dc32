/*
 * scheduler.c: continuous batching: who runs, what the next step computes, and what becomes of the results.
 *
 * A step is one batch: the next token of every request that is answering, and pieces of the prompts of those that are not, shared out
 * evenly up to a budget, so that a long prompt stalls neither those who are reading nor a short prompt behind it. Requests join and
 * leave between any two steps.
 *
 * KV blocks are taken as they are needed. When the pool is full the youngest request is put aside: its blocks are given up, it goes
 * back to the head of the queue, and what it had is computed again later, to the same bits. The oldest request always has what it needs,
 * because the pool holds at least one whole context; so everyone comes to an end.
 *
 * A new request starts from what is computed already: full blocks from the prefix index, then as much of the next block as a running
 * request has in common with it, copied. One whose prompt is just being computed by another waits for that, so the choices of one
 * request, or many requests with one system prompt, compute it once.
 */
#include <string.h>

#include "engine/engine.h"

/* A request waits for another that is computing at least so many more tokens of the same prompt than it could start with. */
#define WORTH_WAITING_FOR 16

/* In a batch of more answers, bounds of what unlikely tokens weigh would too often not decide one of them, and then all logits of all are
 * computed. */
#define BOUNDED_ANSWERS 8

/* After `n` undecided tokens in a row a sequence does without bounds for 2^n, n being at most this. */
#define UNDECIDED_MOST 6U

static uint32_t blocks_for(uint32_t tokens) { return (tokens + WF_KV_BLOCK - 1) / WF_KV_BLOCK; }

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Gives up all blocks of a sequence, the last first. */
static void release_blocks(wf_engine *engine, wf_sequence *sequence) {
    while (sequence->block_count > 0)
        wf_kv_release(&engine->cache, sequence->table[--sequence->block_count]);
    sequence->computed = sequence->entered = 0;
}

static void remove_running(wf_engine *engine, uint32_t index) {
    engine->running_count--;
    memmove(engine->running + index, engine->running + index + 1, (engine->running_count - index) * sizeof *engine->running);
}

static void report_progress(wf_engine *engine, wf_sequence *sequence) {
    sequence->reported = sequence->computed;
    wf_report(engine, sequence, (wf_event){.kind = WF_EVENT_PROGRESS, .token = sequence->computed, .count = sequence->cached});
}

/* Ends a sequence that is in no list any more. */
static void end(wf_engine *engine, wf_sequence *sequence, uint32_t reason) {
    wf_report(engine, sequence, (wf_event){.kind = WF_EVENT_DONE, .reason = reason});
    sequence->next = engine->ended;
    engine->ended = sequence;
}

/* Ends running[index]. */
static void finish(wf_engine *engine, uint32_t index, uint32_t reason) {
    wf_sequence *sequence = engine->running[index];
    release_blocks(engine, sequence);
    remove_running(engine, index);
    end(engine, sequence, reason);
}

/* ---- Arrivals ---- */

/* Takes the sequence that `link` leads to out of the waiting list. */
static wf_sequence *take_waiting(wf_engine *engine, wf_sequence **link) {
    wf_sequence *sequence = *link;
    if (sequence == engine->waiting_last)
        engine->waiting_last = link == &engine->waiting ? NULL : (wf_sequence *)(void *)link;
    *link = sequence->next;
    sequence->next = NULL;
    engine->waiting_count--;
    return sequence;
}

static void end_cancelled(wf_engine *engine) {
    if (!engine->ends_cancelled)
        return;
    engine->ends_cancelled = false;
    for (uint32_t i = 0; i < engine->running_count;) {
        if (atomic_load(&engine->running[i]->cancelled))
            finish(engine, i, WF_REASON_CANCELLED);
        else
            i++;
    }
    for (wf_sequence **link = &engine->waiting; *link != NULL;) {
        if (!atomic_load(&(*link)->cancelled)) {
            link = &(*link)->next;
            continue;
        }
        if (!wf_has_room_for_a_step(engine)) {
            engine->ends_cancelled = true; /* the rest of them when there is room */
            return;
        }
        end(engine, take_waiting(engine, link), WF_REASON_CANCELLED);
    }
}

/* Tokens that two sequences have in common from position 0 on, of at most `most`. */
static uint32_t common_prefix(const wf_sequence *a, const wf_sequence *b, uint32_t most) {
    uint32_t count = 0;
    while (count < most && a->tokens[count] == b->tokens[count])
        count++;
    return count;
}

/* Takes references to the full blocks of a sequence's tokens that the prefix index has. The last token is always computed, for its
 * logits. */
static void reuse_full_blocks(wf_engine *engine, wf_sequence *sequence) {
    sequence->parent = wf_kv_root(sequence->sampling.scope);
    while (sequence->computed + WF_KV_BLOCK < sequence->count) {
        const uint32_t block = wf_kv_find(&engine->cache, sequence->parent, sequence->tokens + sequence->computed);
        if (block == WF_NO_BLOCK)
            return;
        wf_kv_share(&engine->cache, block);
        sequence->parent = engine->cache.entries[block].serial;
        sequence->table[sequence->block_count++] = block;
        sequence->entered++;
        sequence->computed += WF_KV_BLOCK;
    }
}

/* The running sequence that has computed most of the tokens of the block after those that `sequence` has. *common is how many tokens
 * from position 0 on can be had from it; *coming how many it, or another one, is about to have, which becomes the one that is awaited. */
static const wf_sequence *best_neighbour(const wf_engine *engine, wf_sequence *sequence, uint32_t *common, uint32_t *coming) {
    const wf_sequence *best = NULL;
    *common = *coming = sequence->computed;
    sequence->awaited = 0;
    for (uint32_t i = 0; i < engine->running_count; i++) {
        const wf_sequence *other = engine->running[i];
        if (other->sampling.scope != sequence->sampling.scope)
            continue;
        const uint32_t equal = common_prefix(sequence, other, smaller(sequence->count - 1, other->count));
        const uint32_t computed = smaller(equal, other->computed);
        if (computed > *common) {
            *common = computed;
            best = other;
        }
        if (equal > *coming) {
            *coming = equal;
            sequence->awaited = other->id;
        }
    }
    return best;
}

/* Whether a sequence still waits for the one that is computing its prompt. Who waits need not be compared with anyone until then. */
static bool is_still_awaiting(const wf_engine *engine, const wf_sequence *sequence) {
    for (uint32_t i = 0; sequence->awaited != 0 && i < engine->running_count; i++)
        if (engine->running[i]->id == sequence->awaited)
            return engine->running[i]->computed < sequence->awaited_until;
    return false;
}

/* Moves one waiting sequence to the running list if it can start now. `link` leads to it. Returns whether the ones behind it may be
 * looked at: not when it lacks memory, for nobody may overtake it then. */
static bool try_to_start(wf_engine *engine, wf_sequence **link, bool *started) {
    wf_sequence *sequence = *link;
    *started = false;
    const bool reuses = !sequence->sampling.prompt_logprobs;
    const wf_sequence *neighbour = NULL;
    uint32_t common = 0, coming = 0;
    if (is_still_awaiting(engine, sequence))
        return true;
    sequence->parent = wf_kv_root(sequence->sampling.scope);
    if (reuses) {
        reuse_full_blocks(engine, sequence);
        neighbour = best_neighbour(engine, sequence, &common, &coming);
        if (coming >= common + WORTH_WAITING_FOR) {
            sequence->awaited_until = coming - WORTH_WAITING_FOR + 1;
            release_blocks(engine, sequence);
            return true;
        }
    }
    sequence->awaited = 0;
    /* One block for each running sequence is kept back: they grow too. */
    const uint32_t needed = blocks_for(sequence->count) - sequence->block_count;
    const uint32_t available = wf_kv_available(&engine->cache);
    if (available < needed || (engine->running_count > 0 && available - needed < engine->running_count)) {
        release_blocks(engine, sequence);
        return false;
    }
    if (neighbour != NULL && common > sequence->computed && common < sequence->computed + WF_KV_BLOCK) {
        const uint32_t block = wf_kv_take(&engine->cache);
        wf_kv_copy(&engine->cache, neighbour->table[sequence->block_count], block);
        sequence->table[sequence->block_count++] = block;
        sequence->computed = common;
    }
    take_waiting(engine, link);
    uint32_t place = engine->running_count++;
    for (; place > 0 && engine->running[place - 1]->id > sequence->id; place--)
        engine->running[place] = engine->running[place - 1];
    engine->running[place] = sequence;
    *started = true;

    if (sequence->started)
        return true;
    sequence->started = true;
    sequence->cached = sequence->computed;
    engine->stats.prompt_tokens += sequence->prompt_count;
    engine->stats.cached_tokens += sequence->cached;
    report_progress(engine, sequence);
    return true;
}

void wf_schedule_arrivals(wf_engine *engine) {
    end_cancelled(engine);
    wf_sequence **link = &engine->waiting;
    while (*link != NULL && engine->running_count < engine->max_sequences && wf_has_room_for_a_step(engine)) {
        wf_sequence *sequence = *link;
        bool started;
        if (!try_to_start(engine, link, &started))
            return;
        if (!started)
            link = &sequence->next;
    }
}

/* ---- The plan of a step ---- */

/* Puts the youngest running sequence aside, at the head of the queue. */
static void pause_youngest(wf_engine *engine) {
    wf_sequence *sequence = engine->running[--engine->running_count];
    release_blocks(engine, sequence);
    sequence->planned = 0;
    sequence->next = engine->waiting;
    engine->waiting = sequence;
    engine->waiting_last = engine->waiting_last == NULL ? sequence : engine->waiting_last;
    engine->waiting_count++;
    engine->stats.pauses++;
}

/* Takes the blocks that running[index] needs for its planned tokens, at the expense of younger ones, in the end of itself. Returns
 * whether it still runs. */
static bool provide_blocks(wf_engine *engine, uint32_t index) {
    wf_sequence *sequence = engine->running[index];
    const uint32_t needed = blocks_for(sequence->computed + sequence->planned);
    while (sequence->block_count < needed) {
        const uint32_t block = wf_kv_take(&engine->cache);
        if (block != WF_NO_BLOCK) {
            sequence->table[sequence->block_count++] = block;
            continue;
        }
        pause_youngest(engine);
        if (engine->running_count == index)
            return false;
    }
    return true;
}

/* Shares the step's tokens out: one for each answering sequence, then the budget evenly among the prompts; what a short one leaves goes
 * to the others, oldest first. */
static void share_out(wf_engine *engine) {
    uint32_t prompts = 0;
    for (uint32_t i = 0; i < engine->running_count; i++) {
        wf_sequence *sequence = engine->running[i];
        sequence->planned = sequence->count - sequence->computed == 1;
        prompts += !sequence->planned;
    }
    uint32_t budget = wf_pace_tokens(&engine->pace, prompts < engine->running_count);
    for (bool gave = true; gave && budget > 0 && prompts > 0;) {
        const uint32_t part = budget / prompts > 0 ? budget / prompts : 1;
        gave = false;
        for (uint32_t i = 0; i < engine->running_count && budget > 0; i++) {
            wf_sequence *sequence = engine->running[i];
            const uint32_t wanted = sequence->count - sequence->computed - sequence->planned;
            const uint32_t given = smaller(smaller(part, wanted), budget);
            sequence->planned += given;
            budget -= given;
            gave = gave || given > 0;
        }
    }
}

/* Adds a sequence's planned tokens to the batch. */
static void add_rows(wf_engine *engine, wf_sequence *sequence) {
    if (sequence->planned > 1)
        engine->prompt_row_count += sequence->planned;
    for (uint32_t i = 0; i < sequence->planned; i++) {
        const uint32_t position = sequence->computed + i;
        if (sequence->sampling.prompt_logprobs && position + 1 < sequence->prompt_count && position >= sequence->scored)
            engine->scores[engine->score_count++] =
                (wf_answer){.sequence = sequence, .row = engine->row_count, .token = sequence->tokens[position + 1]};
        engine->rows[engine->row_count++] = (wf_row){sequence->tokens[position], position, sequence->table};
    }
    if (sequence->planned > 0 && sequence->computed + sequence->planned == sequence->count && sequence->count < sequence->limit)
        engine->answers[engine->answer_count++] = (wf_answer){.sequence = sequence, .row = engine->row_count - 1};
}

void wf_plan_step(wf_engine *engine) {
    engine->row_count = engine->prompt_row_count = engine->answer_count = engine->score_count = 0;
    share_out(engine);
    for (uint32_t i = 0; i < engine->running_count; i++)
        if (!provide_blocks(engine, i))
            break;
    for (uint32_t i = 0; i < engine->running_count; i++)
        add_rows(engine, engine->running[i]);
}

/* ---- The step ---- */

struct logits_job {
    wf_engine *engine;
    wf_answer *answers;
    float *logits; /* [answers][vocabulary] */
};

/* Finds out what the grammar of one answer's sequence allows. */
static void allow(void *context, uint32_t index) {
    const wf_engine *engine = context;
    wf_answer *answer = &engine->answers[index];
    if (answer->sequence->matcher.automaton != NULL)
        answer->has_no_token = !wf_sequence_allow(answer->sequence, engine->scratch[index].allowed);
}

/* The tokens that answer number `index` may be; NULL: any. */
static const uint64_t *allowed_to(const wf_engine *engine, const wf_answer *answer, uint32_t index) {
    return answer->sequence->matcher.automaton == NULL ? NULL : engine->scratch[index].allowed;
}

/* Notes whether bounds decided a token. */
static void note_decision(wf_sequence *sequence, bool is_decided) {
    sequence->undecided = is_decided ? 0 : smaller(sequence->undecided + 1, UNDECIDED_MOST);
    if (!is_decided)
        sequence->bounded_from = sequence->count + (1U << sequence->undecided);
}

/* Whether the likeliest tokens are those of the model's own logits, and nothing else is asked of these. */
static bool is_plain(const wf_sequence *sequence) {
    const wf_sampling *sampling = &sequence->sampling;
    return !sampling->logprobs && sequence->bias_count == 0 && sequence->seen_bits == NULL &&
           sequence->count - sequence->prompt_count >= sampling->min_tokens;
}

/* Chooses the token of one answer. */
static void choose(void *context, uint32_t index) {
    const struct logits_job *job = context;
    wf_engine *engine = job->engine;
    wf_answer *answer = &job->answers[index];
    if (answer->has_no_token)
        return;
    const wf_sampling *sampling = &answer->sequence->sampling;
    const uint32_t vocabulary = engine->model->config.vocabulary;
    float *logits = job->logits + (size_t)index * vocabulary;
    wf_sampler_scratch *scratch = &engine->scratch[index];
    if (sampling->logprobs) {
        wf_describe(engine->kernels, logits, vocabulary, sampling->top_logprobs, scratch->weights, &answer->distribution);
        memcpy(scratch->original, logits, vocabulary * sizeof *logits);
    }
    const wf_sampler_input input = wf_sequence_sampler_input(answer->sequence, allowed_to(engine, answer, index), answer->residual);
    answer->token = wf_sample(engine->kernels, logits, vocabulary, &input, scratch);
    if (answer->residual.upper_bound > 0.0)
        note_decision(answer->sequence, answer->token != WF_UNDECIDED);
    if (sampling->logprobs)
        answer->logprob = scratch->original[answer->token] - answer->distribution.offset;
}

/* Scores one token of a prompt. */
static void score(void *context, uint32_t index) {
    const struct logits_job *job = context;
    wf_engine *engine = job->engine;
    wf_answer *answer = &job->answers[index];
    const uint32_t vocabulary = engine->model->config.vocabulary;
    const float *logits = job->logits + (size_t)index * vocabulary;
    wf_describe(engine->kernels, logits, vocabulary, answer->sequence->sampling.top_logprobs, engine->scratch[index].weights,
                &answer->distribution);
    answer->logprob = logits[answer->token] - answer->distribution.offset;
}

/* What one answer or prompt token, the `index`-th, needs of its logits. */
typedef wf_logits_request wf_needs(const wf_engine *engine, wf_answer *answer, uint32_t index);

static wf_logits_request all_logits(const wf_engine *engine, wf_answer *answer, uint32_t index) {
    (void)engine;
    (void)index;
    answer->residual = (wf_residual_mass){0};
    return (wf_logits_request){.row = answer->row};
}

/* What a sequence's sampling needs of the logits of its next token, for certain. Where only the likeliest tokens matter, before penalties and
 * biases as after, the others need not be known. */
static wf_logits_request logits_needed(const wf_engine *engine, wf_answer *answer, uint32_t index) {
    const wf_sequence *sequence = answer->sequence;
    const wf_sampling *sampling = &sequence->sampling;
    wf_logits_request request = all_logits(engine, answer, index);
    if (answer->has_no_token) {
        request.top_k = 1; /* nobody will look at them */
        return request;
    }
    request.allowed = allowed_to(engine, answer, index);
    if (!is_plain(sequence))
        return request;
    if (sampling->temperature == 0.0f)
        request.top_k = 1;
    else if (sampling->top_k > 0)
        request.top_k = sampling->top_k;
    return request;
}

/* The same, where bounds of what unlikely tokens weigh may do for a draw. */
static wf_logits_request logits_worth_trying(const wf_engine *engine, wf_answer *answer, uint32_t index) {
    const wf_sequence *sequence = answer->sequence;
    wf_logits_request request = logits_needed(engine, answer, index);
    if (request.top_k == 0 && is_plain(sequence) && sequence->count >= sequence->bounded_from) {
        request.residual = &answer->residual;
        request.temperature = sequence->sampling.temperature;
    }
    return request;
}

/* Computes the logits of some answers, as many at a time as there is room for, and works on them. */
static void with_logits(wf_engine *engine, wf_answer *answers, uint32_t count, wf_needs *needs, wf_work work) {
    for (uint32_t done = 0; done < count; done += engine->max_sequences) {
        wf_logits_request requests[WF_SEQUENCES_MAX];
        const uint32_t part = smaller(count - done, engine->max_sequences);
        for (uint32_t i = 0; i < part; i++)
            requests[i] = needs(engine, &answers[done + i], i);
        struct logits_job job = {engine, answers + done, wf_forward_logits(engine->forward, requests, part)};
        wf_pool_run(engine->pool, work, &job, part);
    }
}

void wf_compute_step(wf_engine *engine) {
    wf_forward_run(engine->forward, engine->rows, engine->row_count);
    with_logits(engine, engine->scores, engine->score_count, all_logits, score);
    wf_pool_run(engine->pool, allow, engine, engine->answer_count);
    with_logits(engine, engine->answers, engine->answer_count,
                engine->answer_count <= BOUNDED_ANSWERS ? logits_worth_trying : logits_needed, choose);
    for (uint32_t i = 0; i < engine->answer_count; i++)
        if (!engine->answers[i].has_no_token && engine->answers[i].token == WF_UNDECIDED) {
            with_logits(engine, engine->answers, engine->answer_count, logits_needed, choose);
            break;
        }
}

/* ---- Results ---- */

/* Reports a token of the answer or of the prompt, and the likeliest ones in its place. */
static void report_token(wf_engine *engine, const wf_answer *answer, uint32_t kind) {
    const wf_distribution *distribution = &answer->distribution;
    wf_report(engine, answer->sequence,
              (wf_event){.kind = kind, .token = answer->token, .count = distribution->top_count, .logprob = answer->logprob});
    for (uint32_t i = 0; i < distribution->top_count; i++)
        wf_report(
            engine, answer->sequence,
            (wf_event){.kind = WF_EVENT_ALTERNATIVE, .token = distribution->top_ids[i], .logprob = distribution->top_logprobs[i]});
}

/* Notes that a sequence's planned tokens are computed, and enters the blocks that they filled into the prefix index. */
static void note_computed(wf_engine *engine, wf_sequence *sequence) {
    sequence->computed += sequence->planned;
    for (; (sequence->entered + 1) * WF_KV_BLOCK <= sequence->computed; sequence->entered++)
        sequence->parent = wf_kv_enter(&engine->cache, sequence->parent, sequence->tokens + sequence->entered * WF_KV_BLOCK,
                                       sequence->table[sequence->entered]);
    if (sequence->count == sequence->prompt_count && sequence->computed > sequence->reported)
        report_progress(engine, sequence);
}

void wf_deliver_step(wf_engine *engine) {
    for (uint32_t i = 0; i < engine->running_count; i++)
        note_computed(engine, engine->running[i]);
    for (uint32_t i = 0; i < engine->score_count; i++) {
        const wf_answer *answer = &engine->scores[i];
        answer->sequence->scored++;
        report_token(engine, answer, WF_EVENT_PROMPT);
    }
    for (uint32_t i = 0; i < engine->answer_count; i++) {
        const wf_answer *answer = &engine->answers[i];
        if (answer->has_no_token)
            continue;
        engine->stats.generated_tokens++;
        wf_sequence_append(answer->sequence, answer->token);
        report_token(engine, answer, WF_EVENT_TOKEN);
    }
    for (uint32_t i = 0; i < engine->running_count;) {
        wf_sequence *sequence = engine->running[i];
        /* A prompt that fills the limit ends without a token, once it is computed. */
        const bool is_waiting = sequence->count == sequence->prompt_count && sequence->computed < sequence->count;
        const uint32_t reason = is_waiting ? 0 : wf_sequence_ending(sequence);
        if (reason != 0)
            finish(engine, i, reason);
        else
            i++;
    }
}

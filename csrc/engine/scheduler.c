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
#include "engine/scheduler.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blocks.h"

/* A request waits for another that is computing at least so many more tokens of the same prompt than it could start with. */
#define WORTH_WAITING_FOR 16

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

void wf_sequences_destroy(wf_sequence *first) {
    while (first != NULL) {
        wf_sequence *next = first->next;
        wf_sequence_destroy(first);
        first = next;
    }
}

int wf_scheduler_create(wf_scheduler *scheduler, uint32_t max_sequences, wf_kv_cache *cache, wf_events *events) {
    *scheduler = (wf_scheduler){.cache = cache, .events = events, .max_sequences = max_sequences};
    scheduler->running = calloc(max_sequences, sizeof *scheduler->running);
    return scheduler->running == NULL ? -1 : 0;
}

void wf_scheduler_destroy(wf_scheduler *scheduler) {
    for (uint32_t i = 0; i < scheduler->running_count; i++)
        wf_sequence_destroy(scheduler->running[i]);
    wf_sequences_destroy(scheduler->waiting);
    free(scheduler->running);
    *scheduler = (wf_scheduler){0};
}

void wf_scheduler_forget_ended(wf_scheduler *scheduler) {
    wf_sequences_destroy(scheduler->ended);
    scheduler->ended = NULL;
}

static void remove_running(wf_scheduler *scheduler, uint32_t index) {
    scheduler->running_count--;
    memmove(scheduler->running + index, scheduler->running + index + 1,
            (scheduler->running_count - index) * sizeof *scheduler->running);
}

static void report_progress(wf_scheduler *scheduler, wf_sequence *sequence) {
    sequence->reported = sequence->computed;
    wf_events_put(scheduler->events, sequence,
                  (wf_event){.kind = WF_EVENT_PROGRESS, .token = sequence->computed, .count = sequence->cached});
}

/* Ends a sequence that is in no list any more. */
static void end(wf_scheduler *scheduler, wf_sequence *sequence, uint32_t reason) {
    wf_events_put(scheduler->events, sequence, (wf_event){.kind = WF_EVENT_DONE, .reason = reason});
    sequence->next = scheduler->ended;
    scheduler->ended = sequence;
}

/* Ends running[index]. */
static void finish(wf_scheduler *scheduler, uint32_t index, uint32_t reason) {
    wf_sequence *sequence = scheduler->running[index];
    wf_blocks_release(scheduler->cache, sequence);
    remove_running(scheduler, index);
    end(scheduler, sequence, reason);
}

/* ---- Arrivals ---- */

void wf_scheduler_queue(wf_scheduler *scheduler, wf_sequence *first, wf_sequence *last, uint32_t count) {
    if (first == NULL)
        return;
    *(scheduler->waiting_last == NULL ? &scheduler->waiting : &scheduler->waiting_last->next) = first;
    scheduler->waiting_last = last;
    scheduler->waiting_count += count;
}

/* Takes the sequence that `link` leads to out of the waiting list. */
static wf_sequence *take_waiting(wf_scheduler *scheduler, wf_sequence **link) {
    wf_sequence *sequence = *link;
    if (sequence == scheduler->waiting_last)
        scheduler->waiting_last = link == &scheduler->waiting ? NULL : (wf_sequence *)(void *)link;
    *link = sequence->next;
    sequence->next = NULL;
    scheduler->waiting_count--;
    return sequence;
}

static void end_cancelled(wf_scheduler *scheduler) {
    if (!scheduler->ends_cancelled)
        return;
    scheduler->ends_cancelled = false;
    for (uint32_t i = 0; i < scheduler->running_count;) {
        if (atomic_load(&scheduler->running[i]->cancelled))
            finish(scheduler, i, WF_REASON_CANCELLED);
        else
            i++;
    }
    for (wf_sequence **link = &scheduler->waiting; *link != NULL;) {
        if (!atomic_load(&(*link)->cancelled)) {
            link = &(*link)->next;
            continue;
        }
        if (!wf_events_fit(scheduler->events)) {
            scheduler->ends_cancelled = true; /* the rest of them when there is room */
            return;
        }
        end(scheduler, take_waiting(scheduler, link), WF_REASON_CANCELLED);
    }
}

/* Tokens that two sequences have in common from position 0 on, of at most `limit`. */
static uint32_t common_prefix(const wf_sequence *a, const wf_sequence *b, uint32_t limit) {
    uint32_t count = 0;
    while (count < limit && a->tokens[count] == b->tokens[count])
        count++;
    return count;
}

/* The running sequence that has computed most of the tokens of the block after those that `sequence` has. *common is how many tokens
 * from position 0 on can be had from it; *coming how many it, or another one, is about to have, which becomes the one that is awaited. */
static const wf_sequence *best_neighbour(const wf_scheduler *scheduler, wf_sequence *sequence, uint32_t *common, uint32_t *coming) {
    const wf_sequence *best = NULL;
    *common = *coming = sequence->computed;
    sequence->awaited = 0;
    for (uint32_t i = 0; i < scheduler->running_count; i++) {
        const wf_sequence *other = scheduler->running[i];
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
static bool is_still_awaiting(const wf_scheduler *scheduler, const wf_sequence *sequence) {
    for (uint32_t i = 0; sequence->awaited != 0 && i < scheduler->running_count; i++)
        if (scheduler->running[i]->id == sequence->awaited)
            return scheduler->running[i]->computed < sequence->awaited_until;
    return false;
}

/* Moves one waiting sequence to the running list if it can start now. `link` leads to it. Returns whether the ones behind it may be
 * looked at: not when it lacks memory, for nobody may overtake it then. */
static bool try_to_start(wf_scheduler *scheduler, wf_sequence **link, bool *started) {
    wf_sequence *sequence = *link;
    *started = false;
    const bool reuses = !sequence->sampling.prompt_logprobs && sequence->embedding == NULL;
    const wf_sequence *neighbour = NULL;
    uint32_t common = 0, coming = 0;
    if (is_still_awaiting(scheduler, sequence))
        return true;
    sequence->parent = wf_kv_root(sequence->sampling.scope);
    if (reuses) {
        wf_blocks_reuse(scheduler->cache, sequence);
        neighbour = best_neighbour(scheduler, sequence, &common, &coming);
        if (coming >= common + WORTH_WAITING_FOR) {
            sequence->awaited_until = coming - WORTH_WAITING_FOR + 1;
            wf_blocks_release(scheduler->cache, sequence);
            return true;
        }
    }
    sequence->awaited = 0;
    /* One block for each running sequence is kept back: they grow too. */
    const uint32_t needed = wf_blocks_of(sequence->count) - sequence->block_count;
    const uint32_t available = wf_kv_available(scheduler->cache);
    if (available < needed || (scheduler->running_count > 0 && available - needed < scheduler->running_count)) {
        wf_blocks_release(scheduler->cache, sequence);
        return false;
    }
    if (neighbour != NULL && common > sequence->computed && common < sequence->computed + WF_KV_BLOCK)
        wf_blocks_copy(scheduler->cache, sequence, neighbour, common);
    take_waiting(scheduler, link);
    uint32_t place = scheduler->running_count++;
    for (; place > 0 && scheduler->running[place - 1]->id > sequence->id; place--)
        scheduler->running[place] = scheduler->running[place - 1];
    scheduler->running[place] = sequence;
    *started = true;

    if (sequence->started)
        return true;
    sequence->started = true;
    sequence->cached = sequence->computed;
    scheduler->prompt_tokens += sequence->prompt_count;
    scheduler->cached_tokens += sequence->cached;
    report_progress(scheduler, sequence);
    return true;
}

void wf_scheduler_admit(wf_scheduler *scheduler) {
    end_cancelled(scheduler);
    wf_sequence **link = &scheduler->waiting;
    while (*link != NULL && scheduler->running_count < scheduler->max_sequences && wf_events_fit(scheduler->events)) {
        wf_sequence *sequence = *link;
        bool started;
        if (!try_to_start(scheduler, link, &started))
            return;
        if (!started)
            link = &sequence->next;
    }
}

/* ---- The plan of a step ---- */

/* Puts the youngest running sequence aside, at the head of the queue. */
static void pause_youngest(wf_scheduler *scheduler) {
    wf_sequence *sequence = scheduler->running[--scheduler->running_count];
    wf_blocks_release(scheduler->cache, sequence);
    sequence->planned = 0;
    sequence->next = scheduler->waiting;
    scheduler->waiting = sequence;
    scheduler->waiting_last = scheduler->waiting_last == NULL ? sequence : scheduler->waiting_last;
    scheduler->waiting_count++;
    scheduler->pauses++;
}

/* Takes the blocks that running[index] needs for its planned tokens, at the expense of younger ones, in the end of itself. Returns
 * whether it still runs. */
static bool provide_blocks(wf_scheduler *scheduler, uint32_t index) {
    wf_sequence *sequence = scheduler->running[index];
    const uint32_t needed = wf_blocks_of(sequence->computed + sequence->planned);
    while (sequence->block_count < needed) {
        if (wf_blocks_extend(scheduler->cache, sequence))
            continue;
        pause_youngest(scheduler);
        if (scheduler->running_count == index)
            return false;
    }
    return true;
}

/* Shares the step's tokens out: one for each answering sequence, then the budget evenly among the prompts; what a short one leaves goes
 * to the others, oldest first. */
static void share_out(wf_scheduler *scheduler) {
    uint32_t prompts = 0;
    for (uint32_t i = 0; i < scheduler->running_count; i++) {
        wf_sequence *sequence = scheduler->running[i];
        sequence->planned = wf_sequence_is_decoding(sequence);
        prompts += !sequence->planned;
    }
    uint32_t budget = wf_pace_tokens(&scheduler->pace, prompts < scheduler->running_count);
    for (bool gave = true; gave && budget > 0 && prompts > 0;) {
        const uint32_t part = budget / prompts > 0 ? budget / prompts : 1;
        gave = false;
        for (uint32_t i = 0; i < scheduler->running_count && budget > 0; i++) {
            wf_sequence *sequence = scheduler->running[i];
            const uint32_t wanted = sequence->count - sequence->computed - sequence->planned;
            const uint32_t given = smaller(smaller(part, wanted), budget);
            sequence->planned += given;
            budget -= given;
            gave = gave || given > 0;
        }
    }
}

/* Adds a sequence's planned tokens to the batch. */
static void add_rows(wf_step *step, wf_sequence *sequence) {
    if (sequence->planned > 1)
        step->prompt_row_count += sequence->planned;
    if (sequence->planned > 0 && sequence->embedding != NULL)
        step->pooled[step->pooled_count++] = (wf_pooled){sequence, step->row_count, sequence->planned};
    for (uint32_t i = 0; i < sequence->planned; i++) {
        const uint32_t position = sequence->computed + i;
        const bool is_scored =
            sequence->sampling.prompt_logprobs && position + 1 < sequence->prompt_count && position >= sequence->scored;
        if (is_scored)
            step->scores[step->score_count++] =
                (wf_prediction){.sequence = sequence, .row = step->row_count, .token = sequence->tokens[position + 1]};
        const bool is_pooled = sequence->embedding != NULL && wf_sequence_pools(sequence, position);
        step->rows[step->row_count++] =
            (wf_row){sequence->tokens[position], position, sequence->table, .is_context = !is_scored && !is_pooled};
    }
    if (sequence->planned > 0 && sequence->computed + sequence->planned == sequence->count && sequence->count < sequence->limit) {
        step->rows[step->row_count - 1].is_context = false;
        step->answers[step->answer_count++] = (wf_prediction){.sequence = sequence, .row = step->row_count - 1};
    }
}

void wf_scheduler_plan(wf_scheduler *scheduler, wf_step *step) {
    wf_step_clear(step);
    share_out(scheduler);
    for (uint32_t i = 0; i < scheduler->running_count; i++)
        if (!provide_blocks(scheduler, i))
            break;
    for (uint32_t i = 0; i < scheduler->running_count; i++)
        add_rows(step, scheduler->running[i]);
}

/* ---- Results ---- */

/* Reports a token of the answer or of the prompt, and the likeliest ones in its place. */
static void report_token(wf_scheduler *scheduler, const wf_prediction *prediction, uint32_t kind) {
    const wf_distribution *distribution = &prediction->distribution;
    wf_events_put(scheduler->events, prediction->sequence,
                  (wf_event){.kind = kind,
                             .token = prediction->token,
                             .count = distribution->top_count,
                             .rank = kind == WF_EVENT_PROMPT ? prediction->rank : 0,
                             .logprob = prediction->logprob});
    for (uint32_t i = 0; i < distribution->top_count; i++)
        wf_events_put(
            scheduler->events, prediction->sequence,
            (wf_event){.kind = WF_EVENT_ALTERNATIVE, .token = distribution->top_ids[i], .logprob = distribution->top_logprobs[i]});
}

/* Notes that a sequence's planned tokens are computed. */
static void note_computed(wf_scheduler *scheduler, wf_sequence *sequence) {
    wf_blocks_note_computed(scheduler->cache, sequence, sequence->planned);
    if (sequence->count == sequence->prompt_count && sequence->computed > sequence->reported)
        report_progress(scheduler, sequence);
}

void wf_scheduler_deliver(wf_scheduler *scheduler, const wf_step *step) {
    for (uint32_t i = 0; i < scheduler->running_count; i++)
        note_computed(scheduler, scheduler->running[i]);
    for (uint32_t i = 0; i < step->score_count; i++) {
        const wf_prediction *prediction = &step->scores[i];
        prediction->sequence->scored++;
        report_token(scheduler, prediction, WF_EVENT_PROMPT);
    }
    for (uint32_t i = 0; i < step->answer_count; i++) {
        const wf_prediction *prediction = &step->answers[i];
        if (prediction->has_no_token)
            continue;
        scheduler->generated_tokens++;
        wf_sequence_append(prediction->sequence, prediction->token);
        report_token(scheduler, prediction, WF_EVENT_TOKEN);
    }
    for (uint32_t i = 0; i < scheduler->running_count;) {
        wf_sequence *sequence = scheduler->running[i];
        /* A prompt that fills the limit ends without a token, once it is computed. */
        const bool is_waiting = sequence->count == sequence->prompt_count && sequence->computed < sequence->count;
        const uint32_t reason = is_waiting ? 0 : wf_sequence_ending(sequence);
        if (reason != 0)
            finish(scheduler, i, reason);
        else
            i++;
    }
}

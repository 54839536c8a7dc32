/*
 * screen.h: the logits of the likeliest tokens, found with a sketch of the head instead of all of its rows.
 */
#ifndef WF_SCREEN_H
#define WF_SCREEN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "layers/residual_mass.h"
#include "layers/sketch.h"
#include "model/model.h"

/* What is needed of a row's logits. Where only the likeliest are, the head can be screened: the others' logits become −∞. */
typedef struct wf_logits_request {
    uint32_t row;   /* of the last batch */
    uint32_t top_k; /* the logits of so many of the likeliest tokens are needed; 0: all logits, unless there is a `residual` */
    wf_residual_mass
        *residual;           /* not NULL: those of many of the likeliest are needed, and here what others weigh; set in any case */
    float temperature;       /* of the residual mass; above 0 */
    const uint64_t *allowed; /* of the tokens that this set holds, the only ones that are looked at; NULL: of all */
} wf_logits_request;

/* The most that a screen looks for. */
#define WF_SCREENED_TOP_K_MAX 64U

/* Tokens in one unit of work: enough that handing it out costs nothing, so few that a processor's second-level cache holds their rows
 * for a batch, and that the bounds of slices tell much. */
#define WF_TOKEN_SLICE 32U

/* The slices of a vocabulary. */
static inline uint32_t wf_token_slices(uint32_t vocabulary) { return (vocabulary + WF_TOKEN_SLICE - 1) / WF_TOKEN_SLICE; }

/* Bounds of the logits of a slice's tokens for one request; −∞ where no token is wanted. Once the slice is screened, bounds of what those of
 * its tokens weigh that were left out. */
typedef struct wf_slice_bounds {
    float lower; /* the best token's logit is at least this */
    float upper; /* no token's logit is more than this */
} wf_slice_bounds;

/* All zero where the head is not to be screened. */
typedef struct wf_screen {
    const wf_model *model;
    const wf_kernels *kernels;
    atomic_bool is_ready;   /* the upper bits of the sketch are complete */
    atomic_bool wants_fine; /* a request came that needs the others */
    atomic_bool has_fine;   /* these are complete */
    wf_sketch sketch;
    int16_t *sketched;         /* [max_logits][sketch.blocks * WF_BLOCK_WEIGHTS] */
    uint8_t *arranged;         /* the same as wf_kernels.arrange_wide leaves it; NULL where there is no such function */
    wf_sketched_state *states; /* [max_logits] */
    int32_t *sums;             /* [max_logits] of the states' values */
    float *factors;            /* [max_logits] the states' scales */
    wf_slice_bounds *bounds;   /* [max_logits][slices] */
    float *thresholds;         /* [max_logits] */
    float *largest;            /* [max_logits][ranks_max(slices)] scratch of find_threshold */
} wf_screen;

/* What a screen works on: `count` requests, whose states normed[count][hidden] wf_screen_note was told, and logits[count][vocabulary] to
 * be filled. */
typedef struct wf_screening {
    const wf_logits_request *requests;
    const float *normed;
    float *logits;
    uint32_t count;
} wf_screening;

/* Memory to screen the head with, for up to `max_logits` requests at once. Returns 0, or -1 with `error`; wf_screen_destroy is due in any
 * case. */
int wf_screen_create(wf_screen *screen, const wf_model *model, const wf_kernels *kernels, uint32_t max_logits, char *error,
                     uint32_t error_size);

/* One that was never made is allowed, when it is all zero. */
void wf_screen_destroy(wf_screen *screen);

/* Whether a request came that needs a part of the sketch which isn't made yet. */
bool wf_screen_wants(const wf_screen *screen);

/* Makes those parts of the sketch that are wanted and not made yet, on any thread and with a pool of that thread's own: the upper bits of its
 * weights, which the likeliest tokens are found with, and the others once a request with a `residual` has come. It ends early when
 * `stopping` becomes true. */
void wf_screen_fill(wf_screen *screen, wf_pool *pool, const atomic_bool *stopping);

/* Sketches the state of the i-th request: normed[hidden]. */
void wf_screen_note(wf_screen *screen, uint32_t i, const float *normed);

/* Whether the sketch serves all requests: the head's rows are read for all or for none. Notes when it would if more of it was made. */
bool wf_screen_serves(wf_screen *screen, const wf_screening *work);

/* Fills the logits, and the residual masses that are asked for. Returns how many bytes of the head and of the sketch were read. */
uint64_t wf_screen_run(wf_screen *screen, wf_pool *pool, const wf_screening *work);

#endif

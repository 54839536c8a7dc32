/*
 * truncation.h: what leaves tokens out of the draw beside top_k, top_p and min_p, and these together with it or before the temperature.
 */
#ifndef WF_TRUNCATION_H
#define WF_TRUNCATION_H

#include <stdbool.h>

#include "engine/candidates.h"
#include "kernels/kernels.h"
#include "wrinklefree.h"

/* Leaves only the tokens whose logits lie within `deviations` standard deviations of the largest one; the others' become −∞, and those that are −∞
 * already don't count. Logits of truncated normal noise keep what stands out of it (Tang et al. 2024, "Top-nσ"). */
void wf_keep_within_deviations(float *logits, uint32_t vocabulary, float largest, float deviations);

/* Whether a request has typical_p, xtc or min_keep, or a temperature that may come after a truncation. */
bool wf_truncates(const wf_sampling *sampling);

/* Whether what comes before the temperature may leave out the likeliest token, as typical_p and xtc do. */
bool wf_may_drop_likeliest(const wf_sampling *sampling);

/* What a token is chosen with. */
typedef struct wf_choice {
    const wf_kernels *kernels;
    const wf_sampling *sampling;
    const float *logits;       /* of all tokens */
    float largest;             /* of the candidates' */
    float inverse_temperature; /* of the candidates' weights */
    float *weights;            /* room for as many as there are candidates */
} wf_choice;

/* Chooses one of the candidates, which are those that top_k has left, by typical_p, top_p, min_p, xtc and the draw, each with min_keep. The
 * candidates' weights are those of temperature 1 if the temperature has a place after some of these.
 *
 * @param place of the draw, from 0 to below 1; `coin`, in the same range, decides whether xtc is applied. */
uint32_t wf_choose_truncated(const wf_choice *choice, wf_candidate *candidates, uint32_t count, double place, double coin);

#endif

/*
 * truncation.h: what leaves tokens out of the draw beside top_k, top_p and min_p, and these together with it.
 */
#ifndef WF_TRUNCATION_H
#define WF_TRUNCATION_H

#include <stdbool.h>

#include "engine/candidates.h"
#include "wrinklefree.h"

/* Leaves only the tokens whose logits lie within `deviations` standard deviations of the largest one; the others' become −∞, and those that are −∞
 * already don't count. Logits of truncated normal noise keep what stands out of it (Tang et al. 2024, "Top-nσ"). */
void wf_keep_within_deviations(float *logits, uint32_t vocabulary, float largest, float deviations);

/* Whether a request has typical_p, xtc or min_keep. */
bool wf_truncates(const wf_sampling *sampling);

/* Chooses one of the candidates, which are those that top_k has left, by typical_p, top_p, min_p, xtc and the draw, each with min_keep.
 *
 * @param logits of all tokens; `largest` is the likeliest candidate's.
 * @param place of the draw, from 0 to below 1; `coin`, in the same range, decides whether xtc is applied. */
uint32_t wf_choose_truncated(wf_candidate *candidates, uint32_t count, const wf_sampling *sampling, const float *logits,
                             float largest, double place, double coin);

#endif

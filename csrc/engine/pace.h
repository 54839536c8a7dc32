/*
 * pace.h: how many prompt tokens a step computes.
 *
 * A step's weights are read once for all of its tokens, so large steps are cheap for each token, and make everybody wait. How long a step takes
 * differs a hundredfold between machines and models, so it is measured: a step may take as long as nobody minds.
 */
#ifndef WF_PACE_H
#define WF_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* The most prompt tokens of a step whose number follows from the time. */
#define WF_PACED_TOKENS_MAX 512U

typedef struct wf_pace {
    uint32_t fixed;       /* tokens that were asked for; 0: by the time */
    uint32_t largest;     /* step that was measured, in prompt tokens */
    double tokens_per_ms; /* 0 until a step was measured */
} wf_pace;

/* The prompt tokens of the next step: a few hundred milliseconds of them, while others are being answered 100 ms. At least 64 or 16, and at first
 * those, as no time is known. When a number was asked for, that, and a quarter of it while others are being answered. */
uint32_t wf_pace_tokens(const wf_pace *pace, bool others_are_answered);

/* Notes how long a step with so many prompt tokens took. */
void wf_pace_note(wf_pace *pace, uint32_t prompt_tokens, double step_ms);

#endif

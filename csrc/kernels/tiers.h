/*
 * tiers.h: the tiers of kernels that this build has. A tier's table is a copy of the one of the tier below, with what its
 * instructions do better put over it, family by family; at the bottom is scalar.c's.
 */
#ifndef WF_TIERS_H
#define WF_TIERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"
#include "kernels/kernels.h"

/* For helpers of hot loops: arguments that are constants at a call are then constants in its loop. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* ---- Families ---- */

/* Puts what a family of kernels does better with some instructions into a table, which holds the kernels of the tier below. */
typedef void wf_family(wf_kernels *kernels);

wf_family wf_ternary_avx2, wf_dense_avx2, wf_sketch_avx2, wf_attention_avx2, wf_elementwise_avx2;
wf_family wf_ternary_avx2_vnni, wf_sketch_avx2_vnni;
wf_family wf_groups_avx2, wf_groups_avx2_vnni, wf_groups_avx512;
wf_family wf_ternary_avx512, wf_dense_avx512, wf_sketch_avx512, wf_attention_avx512, wf_elementwise_avx512;
wf_family wf_ternary_amx, wf_sketch_amx;
wf_family wf_ternary_neon, wf_dense_neon, wf_sketch_neon, wf_attention_neon, wf_elementwise_neon;
wf_family wf_groups_neon, wf_groups_neon_dotprod;
wf_family wf_ternary_neon_dotprod;

/* Whether a product of tiles (AMX) has the right result on this thread. Only where the system allows tiles: otherwise it faults. */
bool wf_amx_computes(void);

/* Whether AVX-512's kernels ask for rows far ahead, in the second-level cache: what suits AMD's processors, while Intel's are fed best a
 * page ahead into the first. To be set before kernels run; no bit depends on it. */
extern bool wf_asks_far_ahead;

/* ---- Tiers ---- */

typedef struct wf_tier {
    const char *name;            /* as WRINKLEFREE_CPU has it */
    const struct wf_tier *below; /* NULL for the scalar tier, which needs nothing */
    enum wf_cpu_feature feature; /* that it needs beside those of the tiers below */
    const char *instructions;    /* what people call that */
    wf_family *families[6];      /* the first is NULL where this build's compiler does not know the instructions */
} wf_tier;

/* The tiers of this architecture, best first: wf_tiers[wf_tier_count]. The last is the scalar one. */
#define WF_TIERS_MAX 5
extern const wf_tier *const wf_tiers[];
extern const uint32_t wf_tier_count;

/* Whether this build has a tier and a processor with these features can run it. */
bool wf_tier_is_usable(const wf_tier *tier, const wf_cpu_features *features);

/* Puts a usable tier's table together. For one thread at a time. */
void wf_fill_table(const wf_tier *tier, wf_kernels *table);

/* Why those before it in wf_tiers are not usable, if it is, as "no tiles: the processor has none": text[size]. An empty text for
 * the first. */
void wf_explain_tier(const wf_tier *tier, const wf_cpu_features *features, char *text, size_t size);

#endif

/*
 * tiers.c: what each tier of kernels consists of.
 */
#include "kernels/tiers.h"

#include <stdio.h>
#include <string.h>

static const wf_tier scalar = {.name = "scalar"};

#if defined(__x86_64__) || defined(WF_EMULATED)

static const wf_tier avx2 = {
    .name = "avx2",
    .below = &scalar,
    .feature = WF_CPU_AVX2,
    .instructions = "AVX2 with FMA and F16C",
    .families = {wf_ternary_avx2, wf_dense_avx2, wf_sketch_avx2, wf_attention_avx2, wf_elementwise_avx2, wf_groups_avx2},
};

static const wf_tier avx2_vnni = {
    .name = "avx2_vnni",
    .below = &avx2,
    .feature = WF_CPU_AVX_VNNI,
    .instructions = "AVX-VNNI",
#if defined(WF_HAS_AVX_VNNI)
    .families = {wf_ternary_avx2_vnni, wf_sketch_avx2_vnni, wf_groups_avx2_vnni},
#endif
};

static const wf_tier avx512 = {
    .name = "avx512",
    .below = &avx2,
    .feature = WF_CPU_AVX512,
    .instructions = "AVX-512 with VNNI",
    .families = {wf_ternary_avx512, wf_dense_avx512, wf_sketch_avx512, wf_attention_avx512, wf_elementwise_avx512,
                 wf_groups_avx512},
};

static const wf_tier amx = {
    .name = "amx",
    .below = &avx512,
    .feature = WF_CPU_AMX,
    .instructions = "tiles",
#if defined(WF_HAS_AMX)
    .families = {wf_ternary_amx, wf_sketch_amx},
#endif
};

const wf_tier *const wf_tiers[] = {&amx, &avx512, &avx2_vnni, &avx2, &scalar};

#elif defined(__aarch64__)

static const wf_tier neon = {
    .name = "neon",
    .below = &scalar,
    .feature = WF_CPU_NEON,
    .instructions = "NEON",
    .families = {wf_ternary_neon, wf_dense_neon, wf_sketch_neon, wf_attention_neon, wf_elementwise_neon, wf_groups_neon},
};

static const wf_tier neon_dotprod = {
    .name = "neon_dotprod",
    .below = &neon,
    .feature = WF_CPU_DOT_PRODUCTS,
    .instructions = "dot products",
    .families = {wf_ternary_neon_dotprod, wf_groups_neon_dotprod},
};

const wf_tier *const wf_tiers[] = {&neon_dotprod, &neon, &scalar};

#else

const wf_tier *const wf_tiers[] = {&scalar};

#endif

const uint32_t wf_tier_count = sizeof wf_tiers / sizeof *wf_tiers;
_Static_assert(sizeof wf_tiers / sizeof *wf_tiers <= WF_TIERS_MAX, "tables are made for WF_TIERS_MAX tiers");

/* Why a tier is not usable though the one below is, or NULL. */
static const char *refusal(const wf_tier *tier, const wf_cpu_features *features) {
    if (tier->below == NULL)
        return NULL;
    return tier->families[0] == NULL ? "this build has no kernels for that" : features->lacking[tier->feature];
}

bool wf_asks_far_ahead;

bool wf_tier_is_usable(const wf_tier *tier, const wf_cpu_features *features) {
    for (; tier != NULL; tier = tier->below)
        if (refusal(tier, features) != NULL)
            return false;
    return true;
}

void wf_fill_table(const wf_tier *tier, wf_kernels *table) {
    if (tier->below == NULL)
        *table = wf_kernels_scalar;
    else
        wf_fill_table(tier->below, table);
    table->name = tier->name;
    for (size_t i = 0; i < sizeof tier->families / sizeof *tier->families && tier->families[i] != NULL; i++)
        tier->families[i](table);
}

void wf_explain_tier(const wf_tier *tier, const wf_cpu_features *features, char *text, size_t size) {
    text[0] = '\0';
    for (uint32_t i = 0; wf_tiers[i] != tier; i++) {
        const wf_tier *better = wf_tiers[i];
        const char *why = refusal(better, features);
        if (why == NULL || !wf_tier_is_usable(better->below, features))
            continue; /* what it builds on is not usable: that tier's reason says enough */
        const size_t used = strlen(text);
        snprintf(text + used, size - used, "%sno %s: %s", used > 0 ? "; " : "", better->instructions, why);
    }
}

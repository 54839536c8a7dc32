/*
 * candidates.c: selects and sorts candidates. The order of what is selected depends on the candidates alone.
 */
#include "engine/candidates.h"

#include <stdlib.h>

static int by_rank(const void *left, const void *right) {
    const wf_candidate *a = left, *b = right;
    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->token < b->token ? -1 : a->token > b->token;
}

void wf_sort_candidates(wf_candidate *candidates, uint32_t count) { qsort(candidates, count, sizeof *candidates, by_rank); }

/* Hoare's partition of candidates[*low … *high] by the rank of one in them: afterwards those up to *last rank before or like the pivot, those
 * from *first on like it or behind it, and one between the two, if there is one, is it. */
static void divide(wf_candidate *candidates, int64_t low, int64_t high, wf_candidate pivot, int64_t *last, int64_t *first) {
    int64_t i = low, j = high;
    while (i <= j) {
        while (by_rank(&candidates[i], &pivot) < 0)
            i++;
        while (by_rank(&pivot, &candidates[j]) < 0)
            j--;
        if (i <= j) {
            const wf_candidate other = candidates[i];
            candidates[i++] = candidates[j];
            candidates[j--] = other;
        }
    }
    *last = j;
    *first = i;
}

void wf_select_top(wf_candidate *candidates, uint32_t count, uint32_t keep) {
    const int64_t wanted = (int64_t)keep - 1;
    int64_t low = 0, high = (int64_t)count - 1;
    while (low < high) {
        int64_t last, first;
        divide(candidates, low, high, candidates[wanted], &last, &first);
        if (last < wanted)
            low = first;
        if (wanted < first)
            high = last;
    }
}

uint32_t wf_select_weight(wf_candidate *candidates, uint32_t count, double wanted) {
    int64_t low = 0, high = (int64_t)count - 1;
    while (low <= high) {
        int64_t last, first;
        divide(candidates, low, high, candidates[(low + high) / 2], &last, &first);
        const double before = wf_weight_of(candidates + low, last - low + 1, 0.0f);
        const double with_pivot = before + wf_weight_of(candidates + last + 1, first - last - 1, 0.0f);
        if (before > wanted) {
            high = last;
        } else if (with_pivot > wanted) {
            return (uint32_t)(last + 2);
        } else {
            wanted -= with_pivot;
            low = first;
        }
    }
    return 0;
}

uint32_t wf_keep_from(wf_candidate *candidates, uint32_t count, double weight, float logit) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if ((double)candidates[i].weight >= weight && candidates[i].logit >= logit)
            candidates[kept++] = candidates[i];
    return kept;
}

double wf_weight_of(const wf_candidate *candidates, int64_t count, float least) {
    double total = 0;
    for (int64_t i = 0; i < count; i++)
        total += candidates[i].weight >= least ? (double)candidates[i].weight : 0.0;
    return total;
}

uint32_t wf_nucleus(const wf_candidate *candidates, uint32_t count, double wanted) {
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += (double)candidates[i].weight;
        if (sum >= wanted)
            return i + 1;
    }
    return 0;
}

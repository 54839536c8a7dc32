/*
 * token_lists.c: checks, copies and applies lists of tokens. Each is its kind, its length and so many ids.
 */
#include "engine/token_lists.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "grammar/vocabulary.h"

/* One list, and the place after it. */
struct list {
    uint32_t kind, count;
    const uint32_t *ids; /* [count] */
    uint32_t end;
};

static struct list list_at(const uint32_t *lists, uint32_t place) {
    return (struct list){lists[place], lists[place + 1], lists + place + 2, place + 2 + lists[place + 1]};
}

int wf_check_token_lists(const uint32_t *lists, uint32_t size, uint32_t vocabulary, char *error, uint32_t error_size) {
    for (uint32_t place = 0; place < size;) {
        if (size - place < 2 || lists[place + 1] > size - place - 2)
            return wf_fail(error, error_size, "the token list at %u of %u is cut off", place, size);
        const struct list list = list_at(lists, place);
        if (list.kind < WF_LIST_ALLOWED || list.kind > WF_LIST_BREAKER)
            return wf_fail(error, error_size, "the token list at %u is of the unknown kind %u", place, list.kind);
        if (list.count == 0)
            return wf_fail(error, error_size, "the token list at %u is empty", place);
        for (uint32_t i = 0; i < list.count; i++)
            if (list.ids[i] >= vocabulary)
                return wf_fail(error, error_size, "token %u of the list at %u is %u; the vocabulary has %u", i, place, list.ids[i],
                               vocabulary);
        place = list.end;
    }
    return 0;
}

/* The tokens of all lists of a kind, or only the last ones, as a set. NULL without memory. */
static uint64_t *set_of(const wf_token_lists *lists, uint32_t kind, bool only_last, uint32_t vocabulary) {
    uint64_t *set = calloc(wf_mask_words(vocabulary), sizeof *set);
    for (uint32_t place = 0; set != NULL && place < lists->size;) {
        const struct list list = list_at(lists->lists, place);
        for (uint32_t i = only_last ? list.count - 1 : 0; list.kind == kind && i < list.count; i++)
            set[list.ids[i] / 64] |= (uint64_t)1 << list.ids[i] % 64;
        place = list.end;
    }
    return set;
}

int wf_token_lists_copy(wf_token_lists *copy, const uint32_t *lists, uint32_t size, uint32_t vocabulary) {
    *copy = (wf_token_lists){.size = size};
    if (size == 0)
        return 0;
    copy->lists = calloc(size, sizeof *copy->lists);
    if (copy->lists == NULL)
        return -1;
    memcpy(copy->lists, lists, size * sizeof *lists);
    bool has[WF_LIST_BREAKER + 1] = {false};
    for (uint32_t place = 0; place < size; place = list_at(lists, place).end)
        has[lists[place]] = true;
    copy->has_bad_words = has[WF_LIST_BAD_WORD];
    if (has[WF_LIST_ALLOWED] && (copy->allowed = set_of(copy, WF_LIST_ALLOWED, false, vocabulary)) == NULL)
        return -1;
    if (has[WF_LIST_BREAKERS] && (copy->breakers = set_of(copy, WF_LIST_BREAKERS, false, vocabulary)) == NULL)
        return -1;
    if (has[WF_LIST_BREAKER] && (copy->endings = set_of(copy, WF_LIST_BREAKER, true, vocabulary)) == NULL)
        return -1;
    return 0;
}

void wf_token_lists_destroy(wf_token_lists *lists) {
    free(lists->lists);
    free(lists->allowed);
    free(lists->breakers);
    free(lists->endings);
    *lists = (wf_token_lists){0};
}

/* Whether tokens[count] end with all of a list but its last `rest` ids. */
static bool ends_with(const uint32_t *tokens, uint32_t count, const struct list *list, uint32_t rest) {
    const uint32_t length = list->count - rest;
    return length <= count && memcmp(tokens + count - length, list->ids, length * sizeof *tokens) == 0;
}

bool wf_token_lists_apply(const wf_token_lists *lists, const uint32_t *answer, uint32_t count, uint32_t vocabulary,
                          uint64_t *allowed) {
    for (uint32_t word = 0; lists->allowed != NULL && word < wf_mask_words(vocabulary); word++)
        allowed[word] &= lists->allowed[word];
    for (uint32_t place = 0; lists->has_bad_words && place < lists->size;) {
        const struct list list = list_at(lists->lists, place);
        const uint32_t last = list.ids[list.count - 1];
        if (list.kind == WF_LIST_BAD_WORD && ends_with(answer, count, &list, 1))
            allowed[last / 64] &= ~((uint64_t)1 << last % 64);
        place = list.end;
    }
    for (uint32_t word = 0; word < wf_mask_words(vocabulary); word++)
        if (allowed[word] != 0)
            return true;
    return false;
}

bool wf_ends_with_breaker(const wf_token_lists *lists, const uint32_t *tokens, uint32_t count) {
    const uint32_t last = tokens[count - 1];
    if (wf_is_breaker(lists, last))
        return true;
    /* There may be thousands, of which few end with this token. */
    const bool may_end = lists->endings != NULL && (lists->endings[last / 64] >> last % 64 & 1) != 0;
    for (uint32_t place = 0; may_end && place < lists->size;) {
        const struct list list = list_at(lists->lists, place);
        if (list.kind == WF_LIST_BREAKER && ends_with(tokens, count, &list, 0))
            return true;
        place = list.end;
    }
    return false;
}

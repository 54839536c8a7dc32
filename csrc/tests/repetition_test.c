/*
 * repetition_test.c: DRY against its definition, place by place, and token lists against theirs.
 */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "engine/repetition.h"
#include "grammar/vocabulary.h"

#define VOCABULARY 130U
#define TEXT_MAX 120U
#define ERROR_BYTES 256U

static struct check_random source = {.state = 0x1234567812345678u};

static uint32_t below(uint32_t limit) { return (uint32_t)check_below(&source, limit); }

static bool one_in(uint32_t count) { return below(count) == 0; }

/* Lists as they are given, and the same by kinds. */
struct lists {
    uint32_t given[256];
    uint32_t size;
    bool breaks[VOCABULARY], allowed[VOCABULARY], has_allowed;
    uint32_t breakers[4][3], breaker_lengths[4], breaker_count;
    uint32_t words[6][3], word_lengths[6], word_count;
};

static void add_list(struct lists *lists, uint32_t kind, const uint32_t *ids, uint32_t count) {
    lists->given[lists->size++] = kind;
    lists->given[lists->size++] = count;
    memcpy(lists->given + lists->size, ids, count * sizeof *ids);
    lists->size += count;
}

/* Ids from a small alphabet, so that everything repeats. */
static uint32_t letter(uint32_t alphabet) { return (below(alphabet) * 37) % VOCABULARY; }

static void make_lists(struct lists *lists, uint32_t alphabet) {
    memset(lists, 0, sizeof *lists);
    uint32_t ids[16];
    for (uint32_t times = below(3); times > 0; times--) {
        const uint32_t count = 1 + below(3);
        for (uint32_t i = 0; i < count; i++)
            lists->breaks[ids[i] = letter(alphabet)] = true;
        add_list(lists, WF_LIST_BREAKERS, ids, count);
    }
    for (; lists->breaker_count < 4 && one_in(2); lists->breaker_count++) {
        const uint32_t count = 2 + below(2);
        for (uint32_t i = 0; i < count; i++)
            lists->breakers[lists->breaker_count][i] = letter(alphabet);
        lists->breaker_lengths[lists->breaker_count] = count;
        add_list(lists, WF_LIST_BREAKER, lists->breakers[lists->breaker_count], count);
    }
    for (uint32_t times = below(3); times > 0; times--) {
        const uint32_t count = 1 + below(16);
        for (uint32_t i = 0; i < count; i++)
            lists->allowed[ids[i] = letter(alphabet)] = true;
        lists->has_allowed = true;
        add_list(lists, WF_LIST_ALLOWED, ids, count);
    }
    for (; lists->word_count < 6 && !one_in(3); lists->word_count++) {
        const uint32_t count = 1 + below(3);
        for (uint32_t i = 0; i < count; i++)
            lists->words[lists->word_count][i] = letter(alphabet);
        lists->word_lengths[lists->word_count] = count;
        add_list(lists, WF_LIST_BAD_WORD, lists->words[lists->word_count], count);
    }
}

static bool stands_at_end(const uint32_t *text, uint32_t count, const uint32_t *ids, uint32_t length) {
    for (uint32_t i = 0; i < length; i++)
        if (count < length || text[count - length + i] != ids[i])
            return false;
    return true;
}

/* Whether text[count] ends with a breaker. */
static bool is_broken(const struct lists *lists, const uint32_t *text, uint32_t count) {
    bool broken = lists->breaks[text[count - 1]];
    for (uint32_t i = 0; i < lists->breaker_count; i++)
        broken = broken || stands_at_end(text, count, lists->breakers[i], lists->breaker_lengths[i]);
    return broken;
}

/* By the definition: the penalty of token `next` after text[count]. 0: none. */
static double penalty_of(const struct lists *lists, const uint32_t *text, uint32_t count, uint32_t next,
                         const wf_sampling *sampling) {
    const uint32_t first = sampling->dry_window > 0 && sampling->dry_window < count ? count - sampling->dry_window : 0;
    int64_t longest = -1;
    for (uint32_t place = first + 1; place < count; place++) {
        if (text[place] != next)
            continue;
        uint32_t length = 0;
        while (length < place - first && text[place - 1 - length] == text[count - 1 - length] &&
               !is_broken(lists, text, count - length))
            length++;
        longest = length > longest ? length : longest;
    }
    if (longest < (int64_t)sampling->dry_allowed_length || lists->breaks[next])
        return 0.0;
    return (double)sampling->dry_multiplier *
           pow((double)sampling->dry_base, (double)(longest - (int64_t)sampling->dry_allowed_length));
}

static void test_repetitions(void) {
    static uint32_t longest[VOCABULARY];
    uint32_t penalised = 0;
    for (uint32_t round = 0; round < 4000; round++) {
        static struct lists lists;
        const uint32_t alphabet = 1 + below(6);
        make_lists(&lists, one_in(3) ? 20 : alphabet);
        uint32_t text[TEXT_MAX], count = 1 + below(TEXT_MAX);
        for (uint32_t i = 0; i < TEXT_MAX; i++)
            text[i] = letter(alphabet);
        const wf_sampling sampling = {.dry_multiplier = 0.25f * (float)(1 + below(8)),
                                      .dry_base = one_in(4) ? 1.0f : 1.0f + 0.1f * (float)below(12),
                                      .dry_allowed_length = below(5),
                                      .dry_window = one_in(2) ? 0 : 1 + below(TEXT_MAX)};
        wf_token_lists copy;
        wf_repetition repetition;
        if (wf_token_lists_copy(&copy, lists.given, lists.size, VOCABULARY) != 0 ||
            wf_repetition_create(&repetition, TEXT_MAX) != 0)
            exit(1);
        if (one_in(2)) {
            /* The same text when it was shorter. */
            wf_find_repetitions(&repetition, text, 1 + below(count), &sampling, &copy, longest);
        }
        wf_find_repetitions(&repetition, text, count, &sampling, &copy, longest);
        double found[VOCABULARY] = {0};
        for (uint32_t i = 0; i < repetition.count; i++) {
            CHECK(found[repetition.ids[i]] == 0.0, "round %u: token %u twice", round, repetition.ids[i]);
            found[repetition.ids[i]] = (double)repetition.penalties[i];
        }
        for (uint32_t token = 0; token < VOCABULARY; token++) {
            const double wanted = fmin(penalty_of(&lists, text, count, token, &sampling), 1e30);
            CHECK(fabs(found[token] - wanted) <= 1e-5 * wanted, "round %u: token %u costs %g, not %g", round, token, found[token],
                  wanted);
            CHECK(longest[token] == 0, "scratch is left as it was");
            penalised += wanted > 0.0;
        }
        wf_repetition_destroy(&repetition);
        wf_token_lists_destroy(&copy);
    }
    CHECK(penalised > 4000, "%u penalties", penalised);
}

static void test_lists(void) {
    for (uint32_t round = 0; round < 4000; round++) {
        static struct lists lists;
        const uint32_t alphabet = 1 + below(8);
        make_lists(&lists, alphabet);
        uint32_t text[TEXT_MAX], count = below(TEXT_MAX);
        for (uint32_t i = 0; i < count; i++)
            text[i] = letter(alphabet);
        wf_token_lists copy;
        if (wf_token_lists_copy(&copy, lists.given, lists.size, VOCABULARY) != 0)
            exit(1);
        CHECK(wf_token_lists_restrict(&copy) == (lists.has_allowed || lists.word_count > 0), "round %u", round);
        uint64_t allowed[3] = {UINT64_MAX, UINT64_MAX, 3};
        const bool any = wf_token_lists_apply(&copy, text, count, VOCABULARY, allowed);
        bool any_wanted = false;
        for (uint32_t token = 0; token < VOCABULARY; token++) {
            bool wanted = !lists.has_allowed || lists.allowed[token];
            for (uint32_t i = 0; i < lists.word_count; i++)
                wanted = wanted && !(lists.words[i][lists.word_lengths[i] - 1] == token &&
                                     stands_at_end(text, count, lists.words[i], lists.word_lengths[i] - 1));
            CHECK((allowed[token / 64] >> token % 64 & 1) == wanted, "round %u: token %u", round, token);
            any_wanted = any_wanted || wanted;
        }
        CHECK(any == any_wanted, "round %u: whether a token is left", round);
        wf_token_lists_destroy(&copy);
    }
}

/* Lists that are not in their form. */
static void test_check_of_lists(void) {
    static const struct {
        const char *what;
        uint32_t lists[6], size;
    } wrong[] = {
        {"half a list", {WF_LIST_ALLOWED}, 1},
        {"a list that is cut off", {WF_LIST_ALLOWED, 2, 5}, 3},
        {"a huge length", {WF_LIST_ALLOWED, UINT32_MAX, 5}, 3},
        {"an empty list", {WF_LIST_BAD_WORD, 0}, 2},
        {"an unknown kind", {WF_LIST_BREAKER + 1, 1, 5}, 3},
        {"no kind", {0, 1, 5}, 3},
        {"a token beyond the vocabulary", {WF_LIST_BREAKERS, 1, VOCABULARY}, 3},
        {"rubbish behind a list", {WF_LIST_BREAKERS, 1, 5, WF_LIST_BREAKERS}, 4},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char error[ERROR_BYTES] = "";
        CHECK(wf_check_token_lists(wrong[i].lists, wrong[i].size, VOCABULARY, error, sizeof error) == -1 &&
                  check_is_line(error, sizeof error),
              "%s: %s", wrong[i].what, error);
    }
    CHECK(wf_check_token_lists(NULL, 0, VOCABULARY, NULL, 0) == 0, "no lists");
}

int main(void) {
    test_repetitions();
    test_lists();
    test_check_of_lists();
    return check_report();
}

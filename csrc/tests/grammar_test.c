/*
 * grammar_test.c: grammars against a naive matcher that shares no code with the automaton, on random grammars, texts and vocabularies;
 * hostile grammars; memory that stays within its bound without a change of what is allowed.
 *
 * With WF_GRAMMAR_TIMES in the environment it prints what a step costs with a vocabulary of 128 thousand tokens.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "grammar/automaton.h"
#include "grammar/cache.h"
#include "grammar/grammar.h"

#define ERROR_BYTES 256U
#define ROOMY ((size_t)16 << 20)

static struct check_random source = {.state = 0x2545f4914f6cdd1du};
static char error[ERROR_BYTES];

static uint32_t below(uint32_t limit) { return (uint32_t)check_below(&source, limit); }

static bool one_in(uint32_t count) { return below(count) == 0; }

/* ---- Making grammars ---- */

#define PARTS_MAX 4096U

struct drawn_edge {
    uint32_t from, kind, argument, to;
};

/* A grammar that is being made. */
struct drawing {
    uint32_t rules[64], rule_count;
    bool is_final[PARTS_MAX];
    uint32_t node_count;
    struct drawn_edge edges[PARTS_MAX];
    uint32_t edge_count;
    wf_call calls[PARTS_MAX];
    uint32_t call_count;
};

static uint32_t add_node(struct drawing *drawing) { return drawing->node_count++; }

static void add_edge(struct drawing *drawing, uint32_t from, uint32_t kind, uint32_t argument, uint32_t to) {
    drawing->edges[drawing->edge_count++] = (struct drawn_edge){from, kind, argument, to};
}

static void add_bytes(struct drawing *drawing, uint32_t from, uint8_t low, uint8_t high, uint32_t to) {
    add_edge(drawing, from, WF_EDGE_BYTES, low | (uint32_t)high << 8, to);
}

static void add_call(struct drawing *drawing, uint32_t from, uint32_t rule, uint32_t least, uint32_t most, uint32_t to) {
    drawing->calls[drawing->call_count] = (wf_call){rule, least, most};
    add_edge(drawing, from, WF_EDGE_CALL, drawing->call_count++, to);
}

/* The grammar as words in blob[]; returns their number. */
static uint32_t write_words(const struct drawing *drawing, uint32_t *words) {
    uint32_t count = 0;
    words[count++] = WF_GRAMMAR_MAGIC;
    words[count++] = drawing->rule_count;
    words[count++] = drawing->node_count;
    words[count++] = drawing->edge_count;
    words[count++] = drawing->call_count;
    for (uint32_t i = 0; i < drawing->rule_count; i++)
        words[count++] = drawing->rules[i];
    uint32_t first = 0;
    for (uint32_t node = 0; node < drawing->node_count; node++) {
        words[count++] = first | (drawing->is_final[node] ? WF_GRAMMAR_FINAL : 0);
        for (uint32_t i = 0; i < drawing->edge_count; i++)
            first += drawing->edges[i].from == node;
    }
    for (uint32_t node = 0; node < drawing->node_count; node++)
        for (uint32_t i = 0; i < drawing->edge_count; i++)
            if (drawing->edges[i].from == node) {
                words[count++] = drawing->edges[i].kind | drawing->edges[i].argument << 8;
                words[count++] = drawing->edges[i].to;
            }
    for (uint32_t i = 0; i < drawing->call_count; i++) {
        words[count++] = drawing->calls[i].rule;
        words[count++] = drawing->calls[i].minimum;
        words[count++] = drawing->calls[i].maximum;
    }
    return count;
}

#define WORDS_MAX (6 * PARTS_MAX + 128)

static wf_automaton *make(const wf_vocabulary *vocabulary, const struct drawing *drawing, size_t memory) {
    static uint32_t words[WORDS_MAX];
    const uint32_t size = write_words(drawing, words) * 4;
    wf_automaton *automaton = wf_automaton_create(vocabulary, (const uint8_t *)words, size, memory, error, ERROR_BYTES);
    if (automaton == NULL) {
        printf("%s\n", error);
        exit(1);
    }
    return automaton;
}

/* A random grammar over a to d. Rules call later rules anywhere, and themselves and earlier ones only once and after a d, which nothing else
 * reads: more freedom makes more ways to read a text than can be followed. */
static void draw(struct drawing *drawing) {
    *drawing = (struct drawing){.rule_count = 1 + below(4)};
    for (uint32_t rule = 0; rule < drawing->rule_count; rule++) {
        const uint32_t first = drawing->node_count, nodes = 2 + below(4);
        drawing->rules[rule] = first;
        drawing->node_count += nodes;
        drawing->is_final[first + nodes - 1] = true;
        if (one_in(4))
            drawing->is_final[first + below(nodes)] = true;
        for (uint32_t i = 0; i < nodes + below(4); i++) {
            uint32_t from = first + below(nodes);
            const uint32_t to = first + below(nodes);
            if (one_in(8)) {
                add_edge(drawing, from, WF_EDGE_EMPTY, 0, to);
            } else if (!one_in(3)) {
                const uint8_t low = (uint8_t)('a' + below(3));
                add_bytes(drawing, from, low, (uint8_t)(low + (one_in(2) ? 0 : below((uint32_t)('d' - low)))), to);
            } else {
                const uint32_t called = below(drawing->rule_count);
                if (called <= rule) {
                    const uint32_t middle = add_node(drawing);
                    add_bytes(drawing, from, 'd', 'd', middle);
                    from = middle;
                }
                const uint32_t least = called <= rule ? 1 : below(3), most = one_in(3) ? WF_GRAMMAR_NO_END : least + below(3);
                add_call(drawing, from, called, least, called <= rule || most == 0 ? 1 : most, to);
            }
        }
    }
}

/* ---- The naive matcher ---- */

#define TEXT_MAX 12U

/* What is known of a text, positions as bits. */
struct knowledge {
    uint32_t ends[64][TEXT_MAX + 1]; /* where a rule that begins at a position may end */
    bool inside[64][TEXT_MAX + 1];   /* whether all the rest may be inside of it, with more to read */
};

/* Learns more about a rule that begins at `begin`. */
static bool learn(const struct drawing *drawing, const char *text, uint32_t length, struct knowledge *known, uint32_t rule,
                  uint32_t begin) {
    static uint32_t reached[PARTS_MAX]; /* positions at which each node may be */
    memset(reached, 0, sizeof reached);
    reached[drawing->rules[rule]] = 1U << begin;
    bool inside = known->inside[rule][begin];
    for (bool grew = true; grew;) {
        grew = false;
        for (uint32_t i = 0; i < drawing->edge_count; i++) {
            const struct drawn_edge *edge = &drawing->edges[i];
            const uint32_t from = reached[edge->from];
            uint32_t to = 0;
            if (edge->kind == WF_EDGE_EMPTY) {
                to = from;
            } else if (edge->kind == WF_EDGE_BYTES) {
                inside = inside || from >> length & 1;
                for (uint32_t at = 0; at < length; at++)
                    if (from >> at & 1 && (uint8_t)text[at] >= (edge->argument & 0xff) && (uint8_t)text[at] <= edge->argument >> 8)
                        to |= 2U << at;
            } else {
                const wf_call *call = &drawing->calls[edge->argument];
                uint32_t now = from;
                to = call->minimum == 0 ? now : 0;
                for (uint32_t times = 1; now != 0 && times <= call->maximum && times < 64; times++) {
                    uint32_t after = 0;
                    for (uint32_t at = 0; at <= length; at++)
                        if (now >> at & 1) {
                            after |= known->ends[call->rule][at];
                            inside = inside || known->inside[call->rule][at];
                        }
                    now = after;
                    if (times >= call->minimum)
                        to |= now;
                }
            }
            if ((reached[edge->to] | to) != reached[edge->to]) {
                reached[edge->to] |= to;
                grew = true;
            }
        }
    }
    uint32_t ends = 0;
    for (uint32_t node = 0; node < drawing->node_count; node++)
        if (drawing->is_final[node])
            ends |= reached[node];
    const bool learnt = ends != known->ends[rule][begin] || inside != known->inside[rule][begin];
    known->ends[rule][begin] = ends;
    known->inside[rule][begin] = inside;
    return learnt;
}

/* Whether a text is of a grammar, and whether it is or may become so. */
static void judge(const struct drawing *drawing, const char *text, uint32_t length, bool *is_complete, bool *is_possible) {
    static struct knowledge known;
    memset(&known, 0, sizeof known);
    for (bool learnt = true; learnt;) {
        learnt = false;
        for (uint32_t rule = 0; rule < drawing->rule_count; rule++)
            for (uint32_t begin = 0; begin <= length; begin++)
                learnt = learn(drawing, text, length, &known, rule, begin) || learnt;
    }
    *is_complete = known.ends[0][0] >> length & 1;
    *is_possible = *is_complete || known.inside[0][0];
}

/* ---- Vocabularies ---- */

/* Of words[count]; an empty word is a token without bytes. The model has `more` tokens than that. */
static wf_vocabulary *vocabulary_of(const char *const *words, uint32_t count, uint32_t more) {
    static uint8_t bytes[65536];
    static uint32_t offsets[4096];
    offsets[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t length = (uint32_t)strlen(words[i]);
        memcpy(bytes + offsets[i], words[i], length);
        offsets[i + 1] = offsets[i] + length;
    }
    wf_vocabulary *vocabulary = wf_vocabulary_create(count + more, bytes, offsets, count, error, ERROR_BYTES);
    if (vocabulary == NULL)
        exit(1);
    return vocabulary;
}

/* The first four are the single bytes. */
static const char *const words[] = {"a", "b", "c", "d", "ab", "", "ba", "abc", "ab", "dd", "ddd", "cab", "abcd", "bb"};
#define WORDS (sizeof words / sizeof *words)

/* ---- Cases ---- */

static void test_random_grammars(void) {
    wf_vocabulary *vocabulary = vocabulary_of(words, WORDS, 60);
    static struct drawing drawing;
    uint32_t complete = 0, possible = 0;
    for (uint32_t round = 0; round < 500; round++) {
        draw(&drawing);
        wf_automaton *automaton = make(vocabulary, &drawing, ROOMY);
        for (uint32_t attempt = 0; attempt < 4; attempt++) {
            char text[TEXT_MAX + 8];
            uint32_t answer[TEXT_MAX], length = 0, recursions = 0;
            wf_matcher matcher = {.automaton = automaton};
            for (;;) {
                uint64_t allowed[2] = {~(uint64_t)0, ~(uint64_t)0};
                bool ends = false, is_complete, is_possible;
                judge(&drawing, text, length, &is_complete, &is_possible);
                const int32_t count = wf_matcher_allow(&matcher, answer, length, allowed, &ends);
                CHECK((count >= 0) == is_possible && (count < 0 || ends == is_complete), "round %u: '%.*s'", round, (int)length,
                      text);
                complete += is_complete;
                possible += is_possible;
                if (count < 0 || !is_possible)
                    break;
                int32_t expected = 0;
                uint32_t choices[4], choice_count = 0;
                for (uint32_t token = 0; token < WORDS; token++) {
                    const uint32_t more = (uint32_t)strlen(words[token]);
                    bool may_end, may_stand = false;
                    memcpy(text + length, words[token], more);
                    if (more > 0)
                        judge(&drawing, text, length + more, &may_end, &may_stand);
                    expected += may_stand;
                    CHECK((allowed[0] >> token & 1) == may_stand, "round %u: '%.*s'", round, (int)(length + more), text);
                    if (may_stand && token < 4)
                        choices[choice_count++] = token;
                }
                CHECK(count == expected && allowed[1] == 0, "round %u: %d tokens instead of %d", round, count, expected);
                /* Grammars drawn at random have ways that lead nowhere, which it need not see. */
                CHECK(!wf_matcher_is_finished(&matcher, answer, length) || (is_complete && choice_count == 0), "round %u", round);
                if (choice_count == 0 || length + 5 > TEXT_MAX || recursions > 1)
                    break;
                answer[length] = one_in(10) ? below(4) : choices[below(choice_count)];
                text[length] = (char)('a' + answer[length]);
                recursions += text[length++] == 'd';
            }
        }
        wf_automaton_release(automaton);
    }
    CHECK(complete > 1000 && possible > 3000, "the grammars match next to nothing: %u, %u", complete, possible);
    wf_vocabulary_destroy(vocabulary);
}

/* Many states: words of a and b of which the 12th from the end is an a. */
static void draw_many_states(struct drawing *drawing) {
    *drawing = (struct drawing){.rule_count = 1};
    uint32_t node = add_node(drawing);
    add_bytes(drawing, node, 'a', 'b', node);
    uint32_t next = add_node(drawing);
    add_bytes(drawing, node, 'a', 'a', next);
    for (uint32_t i = 0; i < 11; i++) {
        node = next;
        next = add_node(drawing);
        add_bytes(drawing, node, 'a', 'b', next);
    }
    drawing->is_final[next] = true;
}

static void test_memory(void) {
    wf_vocabulary *vocabulary = vocabulary_of(words, WORDS, 0);
    static struct drawing drawing;
    draw_many_states(&drawing);
    const size_t little = (size_t)64 << 10;
    wf_automaton *roomy = make(vocabulary, &drawing, ROOMY), *tight = make(vocabulary, &drawing, little);
    static uint32_t answer[6000];
    wf_matcher first = {.automaton = roomy}, second = {.automaton = tight};
    for (uint32_t count = 0; count < 6000; count++) {
        uint64_t expected, allowed;
        bool ends, may_end;
        const int32_t one = wf_matcher_allow(&first, answer, count, &expected, &ends);
        const int32_t other = wf_matcher_allow(&second, answer, count, &allowed, &may_end);
        CHECK(one == other && expected == allowed && ends == may_end, "after %u tokens", count);
        CHECK(ends == (count >= 12 && answer[count - 12] == 0), "after %u tokens", count);
        answer[count] = below(2);
    }
    CHECK(wf_automaton_memory(tight) <= 2 * little, "%zu bytes", wf_automaton_memory(tight));
    CHECK(wf_automaton_memory(roomy) > 2 * little, "the bound was never reached: %zu bytes", wf_automaton_memory(roomy));
    CHECK(second.epoch > 2, "nothing was forgotten");
    wf_automaton_release(roomy);
    wf_automaton_release(tight);

    /* Too little for a single state: no answer rather than a free one. */
    wf_automaton *none = make(vocabulary, &drawing, 100);
    uint64_t allowed;
    bool ends;
    CHECK(wf_matcher_allow(&(wf_matcher){.automaton = none}, answer, 0, &allowed, &ends) == -1, "an answer out of no memory");
    wf_automaton_release(none);
    wf_vocabulary_destroy(vocabulary);
}

/* Rules that call themselves without reading, more ways than can be followed, and nesting without end. */
static void test_bounds(void) {
    wf_vocabulary *vocabulary = vocabulary_of(words, WORDS, 0);
    static struct drawing drawing;
    static uint32_t answer[4000];
    uint64_t allowed;
    bool ends;

    drawing = (struct drawing){.rule_count = 1}; /* S = S a | b */
    const uint32_t begin = add_node(&drawing), middle = add_node(&drawing), end = add_node(&drawing);
    drawing.is_final[end] = true;
    add_call(&drawing, begin, 0, 1, 1, middle);
    add_bytes(&drawing, middle, 'a', 'a', end);
    add_bytes(&drawing, begin, 'b', 'b', end);
    wf_automaton *automaton = make(vocabulary, &drawing, ROOMY);
    answer[0] = 1;
    wf_matcher matcher = {.automaton = automaton};
    CHECK(wf_matcher_allow(&matcher, answer, 0, &allowed, &ends) >= 1 && allowed >> 1 & 1, "left recursion");
    CHECK(wf_matcher_allow(&matcher, answer, 1, &allowed, &ends) == 1 && allowed == 1 && ends, "left recursion after b");
    wf_automaton_release(automaton);

    drawing = (struct drawing){.rule_count = 1}; /* S = a S S S | a S S b | b */
    const uint32_t root = add_node(&drawing), last = add_node(&drawing);
    drawing.is_final[last] = true;
    add_bytes(&drawing, root, 'b', 'b', last);
    for (uint32_t way = 0; way < 2; way++) {
        uint32_t at = add_node(&drawing);
        add_bytes(&drawing, root, 'a', 'a', at);
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t next = add_node(&drawing);
            add_call(&drawing, at, 0, 1, 1, next);
            at = next;
        }
        if (way == 0)
            add_call(&drawing, at, 0, 1, 1, last);
        else
            add_bytes(&drawing, at, 'b', 'b', last);
    }
    automaton = make(vocabulary, &drawing, ROOMY);
    matcher = (wf_matcher){.automaton = automaton};
    memset(answer, 0, sizeof answer);
    uint32_t depth = 0;
    while (depth < 3999 && wf_matcher_allow(&matcher, answer, depth, &allowed, &ends) > 0 && allowed & 1)
        depth++;
    CHECK(depth >= 8 && depth < 3999, "doubling ways end after %u tokens", depth);
    CHECK(wf_automaton_memory(automaton) <= 2 * ROOMY, "%zu bytes", wf_automaton_memory(automaton));
    wf_automaton_release(automaton);

    drawing = (struct drawing){.rule_count = 1}; /* S = a S b | c */
    uint32_t nodes[4];
    for (uint32_t i = 0; i < 4; i++)
        nodes[i] = add_node(&drawing);
    drawing.is_final[nodes[3]] = true;
    add_bytes(&drawing, nodes[0], 'a', 'a', nodes[1]);
    add_call(&drawing, nodes[1], 0, 1, 1, nodes[2]);
    add_bytes(&drawing, nodes[2], 'b', 'b', nodes[3]);
    add_bytes(&drawing, nodes[0], 'c', 'c', nodes[3]);
    automaton = make(vocabulary, &drawing, ROOMY);
    matcher = (wf_matcher){.automaton = automaton};
    for (depth = 0; depth < 3999 && wf_matcher_allow(&matcher, answer, depth, &allowed, &ends) > 0 && allowed & 1;)
        depth++;
    CHECK(depth > 500 && depth < 2000, "nesting ends after %u tokens", depth);
    CHECK(!ends && allowed >> 2 & 1, "what is nested as deeply as can be may still be finished");
    wf_automaton_release(automaton);
    wf_vocabulary_destroy(vocabulary);
}

/* One node with EDGES edges, at which an answer is CALLS times at once: whoever looks at all of them each time is not done in minutes. */
static void test_crowded_node(void) {
    enum { EDGES = 1000000, CALLS = 4000 };
    wf_vocabulary *vocabulary = vocabulary_of(words, WORDS, 0);
    uint32_t *blob = need(malloc((5 + 2 + 4 + 2 * (EDGES + 2) + 3) * sizeof *blob)), count = 0;
    const uint32_t head[] = {
        WF_GRAMMAR_MAGIC, 2, 4, EDGES + 2, 1, 0, 2, 0, 1 | WF_GRAMMAR_FINAL, 1, (EDGES + 2) | WF_GRAMMAR_FINAL};
    memcpy(blob, head, sizeof head);
    count = sizeof head / sizeof *head;
    blob[count++] = WF_EDGE_CALL;
    blob[count++] = 1;
    blob[count++] = WF_EDGE_EMPTY;
    blob[count++] = 3;
    for (uint32_t i = 0; i < EDGES; i++) {
        blob[count++] = WF_EDGE_BYTES | 'a' << 8 | 'a' << 16;
        blob[count++] = 3;
    }
    blob[count++] = 1;
    blob[count++] = 0;
    blob[count++] = CALLS;
    wf_automaton *automaton =
        wf_automaton_create(vocabulary, (const uint8_t *)blob, count * sizeof *blob, ROOMY, error, ERROR_BYTES);
    free(blob);
    CHECK(automaton != NULL, "%s", error);
    wf_matcher matcher = {.automaton = automaton};
    uint64_t allowed;
    bool ends;
    const uint32_t answer = 0;
    for (uint32_t i = 0; i < 2; i++)
        CHECK(wf_matcher_allow(&matcher, &answer, i, &allowed, &ends) == -1, "too much work is given up");
    CHECK(wf_automaton_memory(automaton) == 0, "nothing of it is kept");
    wf_automaton_release(automaton);
    wf_vocabulary_destroy(vocabulary);
}

/* Asks a fresh automaton and one that other answers have warmed the same; both must allow the same tokens, or none at all. Returns whether
 * they were allowed. */
static bool check_warmth(wf_automaton *fresh, wf_automaton *warm, const uint32_t *answer, uint32_t count) {
    uint64_t cold_tokens[1] = {0}, warm_tokens[1] = {0};
    bool cold_ends = false, warm_ends = false;
    const int32_t cold = wf_matcher_allow(&(wf_matcher){.automaton = fresh}, answer, count, cold_tokens, &cold_ends);
    const int32_t other = wf_matcher_allow(&(wf_matcher){.automaton = warm}, answer, count, warm_tokens, &warm_ends);
    CHECK(cold == other && cold_ends == warm_ends && (cold < 0 || memcmp(cold_tokens, warm_tokens, sizeof cold_tokens) == 0),
          "%d tokens may follow %u others, %d when some states were known before", cold, count, other);
    return cold >= 0;
}

/* What an answer costs is what it costs by itself: neither work that others have done nor memory that they take changes its end. */
static void test_warmth(void) {
    /* From the beginning each of many letters leads to a place that is reached with 20 counts at once and has many edges: a token is
     * read in time, but for all that may come first there are too many of them, when there are more than four. */
    enum { COUNTS = 21, EDGES = 80000 };
    static const char *const letters[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    wf_vocabulary *vocabulary = vocabulary_of(letters, 8, 0);
    for (uint32_t choices = 2; choices <= 8; choices += 2) {
        /* Nodes: 0, the beginning; 1 to 8, behind each letter; 9, the end of rule 0; 10 and 11, rule 1. */
        const uint32_t edge_count = choices + 8 + EDGES + 1;
        uint32_t *blob = need(malloc((5 + 2 + 12 + 2 * (size_t)edge_count + 3) * sizeof *blob)), count = 0;
        const uint32_t head[] = {WF_GRAMMAR_MAGIC, 2, 12, edge_count, 1, 0, 10, 0};
        memcpy(blob, head, sizeof head);
        count = sizeof head / sizeof *head;
        for (uint32_t i = 0; i < 8; i++)
            blob[count++] = choices + i;
        blob[count++] = (choices + 8) | WF_GRAMMAR_FINAL;
        blob[count++] = choices + 8;
        blob[count++] = edge_count | WF_GRAMMAR_FINAL;
        for (uint32_t i = 0; i < choices; i++) {
            blob[count++] = WF_EDGE_BYTES | ('a' + i) << 8 | ('a' + i) << 16;
            blob[count++] = 1 + i;
        }
        for (uint32_t i = 0; i < 8; i++) {
            blob[count++] = WF_EDGE_CALL;
            blob[count++] = 9;
        }
        blob[count++] = WF_EDGE_EMPTY;
        blob[count++] = 11;
        for (uint32_t i = 0; i < EDGES; i++) {
            blob[count++] = WF_EDGE_BYTES | 'a' << 8 | 'a' << 16;
            blob[count++] = 11;
        }
        blob[count++] = 1;
        blob[count++] = 0;
        blob[count++] = COUNTS;
        const uint8_t *bytes = (const uint8_t *)blob;
        wf_automaton *fresh = wf_automaton_create(vocabulary, bytes, count * 4, ROOMY, error, ERROR_BYTES);
        wf_automaton *warm = wf_automaton_create(vocabulary, bytes, count * 4, ROOMY, error, ERROR_BYTES);
        CHECK(fresh != NULL && warm != NULL, "%s", error);
        free(blob);
        for (uint32_t i = 0; i < choices; i++)
            CHECK(!wf_matcher_is_finished(&(wf_matcher){.automaton = warm}, &i, 1), "more may follow");
        const bool is_allowed = check_warmth(fresh, warm, NULL, 0);
        CHECK(is_allowed == (choices <= 4), "%u choices", choices);
        wf_automaton_release(fresh);
        wf_automaton_release(warm);
    }
    wf_vocabulary_destroy(vocabulary);

    /* Random grammars in little memory. */
    vocabulary = vocabulary_of(words, WORDS, 0);
    static struct drawing drawing;
    uint32_t allowed = 0, ended = 0;
    for (uint32_t round = 0; round < 200; round++) {
        draw(&drawing);
        const size_t memory = (size_t)1 << (9 + below(5));
        wf_automaton *warm = make(vocabulary, &drawing, memory);
        for (uint32_t i = 0; i < 20; i++) {
            uint32_t answer[12], length = 0;
            wf_automaton *fresh = make(vocabulary, &drawing, memory);
            while (length < 12 && check_warmth(fresh, warm, answer, length)) {
                uint64_t tokens;
                bool ends;
                wf_matcher_allow(&(wf_matcher){.automaton = warm}, answer, length, &tokens, &ends);
                if (tokens == 0)
                    break;
                uint32_t token = below(WORDS);
                while ((tokens >> token & 1) == 0)
                    token = (token + 1) % WORDS;
                answer[length++] = token;
                wf_automaton_release(fresh);
                fresh = make(vocabulary, &drawing, memory);
                allowed++;
            }
            uint64_t tokens;
            bool ends;
            ended += wf_matcher_allow(&(wf_matcher){.automaton = fresh}, answer, length, &tokens, &ends) < 0;
            wf_automaton_release(fresh);
        }
        wf_automaton_release(warm);
    }
    CHECK(allowed > 1000 && ended > 50, "%u tokens were allowed and %u answers ended for want of memory", allowed, ended);
    wf_vocabulary_destroy(vocabulary);
}

/* Grammars with wrong words in them are refused in one line or followed within their bounds. */
static void test_hostile_blobs(void) {
    wf_vocabulary *vocabulary = vocabulary_of(words, WORDS, 0);
    static struct drawing drawing;
    static uint32_t blob[WORDS_MAX];
    uint32_t refused = 0, accepted = 0;
    for (uint32_t round = 0; round < 5000; round++) {
        draw(&drawing);
        uint32_t count = write_words(&drawing, blob);
        for (uint32_t changes = 1 + below(3); changes > 0; changes--) {
            static const uint32_t odd[] = {0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0xff00, 0xffff02};
            uint32_t *word = &blob[below(count)];
            *word = one_in(2)   ? odd[below(sizeof odd / sizeof *odd)]
                    : one_in(2) ? *word + below(8) - 4
                                : (uint32_t)check_next(&source);
        }
        /* In memory of its own, so that a read past the end is seen. */
        const uint32_t size = one_in(10) ? below(count * 4) : count * 4;
        uint8_t *copy = need(malloc(size > 0 ? size : 1));
        memcpy(copy, blob, size);
        error[0] = '\0';
        wf_automaton *automaton = wf_automaton_create(vocabulary, copy, size, (size_t)64 << 10, error, ERROR_BYTES);
        free(copy);
        if (automaton == NULL) {
            refused++;
            CHECK(check_is_line(error, ERROR_BYTES), "a message");
            continue;
        }
        accepted++;
        wf_matcher matcher = {.automaton = automaton};
        uint32_t answer[8];
        for (uint32_t length = 0; length < 8; length++) {
            uint64_t allowed = 0;
            bool ends;
            if (wf_matcher_allow(&matcher, answer, length, &allowed, &ends) <= 0)
                break;
            do
                answer[length] = below(WORDS);
            while ((allowed >> answer[length] & 1) == 0);
        }
        wf_automaton_release(automaton);
    }
    CHECK(refused > 500 && accepted > 500, "%u refused, %u accepted", refused, accepted);
    CHECK(wf_automaton_create(vocabulary, NULL, 0, ROOMY, error, ERROR_BYTES) == NULL && check_is_line(error, ERROR_BYTES), "none");
    CHECK(wf_automaton_create(vocabulary, NULL, UINT32_MAX, ROOMY, error, ERROR_BYTES) == NULL, "larger than allowed");
    wf_vocabulary_destroy(vocabulary);
}

static void test_vocabularies(void) {
    const uint32_t backwards[] = {0, 5, 3};
    CHECK(wf_vocabulary_create(2, (const uint8_t *)"abcde", backwards, 2, error, ERROR_BYTES) == NULL &&
              check_is_line(error, ERROR_BYTES),
          "offsets that fall");
    const uint32_t two[] = {0, 1, 2};
    CHECK(wf_vocabulary_create(1, (const uint8_t *)"ab", two, 2, error, ERROR_BYTES) == NULL, "more tokens than the model has");
    wf_vocabulary *empty = wf_vocabulary_create(3, (const uint8_t *)"", (const uint32_t[]){0}, 0, error, ERROR_BYTES);
    CHECK(empty != NULL && empty->node_count == 0, "no bytes at all");
    static struct drawing drawing;
    draw_many_states(&drawing);
    wf_automaton *automaton = make(empty, &drawing, ROOMY);
    uint64_t allowed = 1;
    bool ends = true;
    CHECK(wf_matcher_allow(&(wf_matcher){.automaton = automaton}, NULL, 0, &allowed, &ends) == 0 && allowed == 0 && !ends,
          "nothing can be said");
    wf_automaton_release(automaton);
    wf_vocabulary_destroy(empty);

    /* Tokens that are too long are in no grammar, those just within are. */
    static uint8_t bytes[2 * WF_TOKEN_BYTES_MAX + 1];
    memset(bytes, 'a', sizeof bytes);
    const uint32_t long_ones[] = {0, WF_TOKEN_BYTES_MAX, sizeof bytes};
    wf_vocabulary *longer = wf_vocabulary_create(2, bytes, long_ones, 2, error, ERROR_BYTES);
    drawing = (struct drawing){.rule_count = 1};
    drawing.is_final[add_node(&drawing)] = true;
    add_bytes(&drawing, 0, 'a', 'a', 0);
    automaton = make(longer, &drawing, ROOMY);
    CHECK(wf_matcher_allow(&(wf_matcher){.automaton = automaton}, NULL, 0, &allowed, &ends) == 1 && allowed == 1, "long tokens");
    wf_automaton_release(automaton);
    wf_vocabulary_destroy(longer);
}

static void test_cache(void) {
    wf_vocabulary *vocabulary = vocabulary_of(words, WORDS, 0);
    static struct drawing drawings[WF_GRAMMARS_KEPT + 1];
    static uint32_t blob[WORDS_MAX];
    wf_grammar_cache cache = {0};
    for (uint32_t i = 0; i <= WF_GRAMMARS_KEPT; i++) {
        drawings[i] = (struct drawing){.rule_count = 1};
        drawings[i].is_final[add_node(&drawings[i])] = true;
        add_bytes(&drawings[i], 0, (uint8_t)i, (uint8_t)i, 0);
        const uint32_t size = write_words(&drawings[i], blob) * 4;
        CHECK(wf_grammar_cache_find(&cache, (const uint8_t *)blob, size) == NULL, "grammar %u is new", i);
        wf_automaton *automaton = make(vocabulary, &drawings[i], ROOMY);
        wf_automaton_release(wf_grammar_cache_keep(&cache, automaton));
        wf_automaton_release(automaton);
        /* The first one is used in between, so it stays. */
        const uint32_t first = write_words(&drawings[0], blob) * 4;
        automaton = wf_grammar_cache_find(&cache, (const uint8_t *)blob, first);
        CHECK(automaton != NULL && wf_automaton_is_of(automaton, (const uint8_t *)blob, first), "the first one is kept");
        wf_automaton_release(automaton);
    }
    const uint32_t size = write_words(&drawings[1], blob) * 4;
    CHECK(wf_grammar_cache_find(&cache, (const uint8_t *)blob, size) == NULL, "the least recently used one went");
    wf_grammar_cache_clear(&cache);
    wf_vocabulary_destroy(vocabulary);
}

/* ---- Several threads ---- */

static void *follow_many(void *context) {
    wf_automaton *automaton = context;
    static _Thread_local uint32_t answer[300];
    struct check_random random = {.state = 77};
    wf_matcher matcher = {.automaton = automaton};
    uintptr_t wrong = 0;
    for (uint32_t count = 0; count < 300; count++) {
        uint64_t allowed = 0;
        bool ends = false;
        wrong += wf_matcher_allow(&matcher, answer, count, &allowed, &ends) <= 0;
        wrong += ends != (count >= 12 && answer[count - 12] == 0);
        answer[count] = (uint32_t)check_below(&random, 2);
        wrong += wf_matcher_is_finished(&matcher, answer, count + 1);
    }
    wf_automaton_release(automaton);
    return (void *)wrong;
}

static void test_threads(void) {
    wf_vocabulary *vocabulary = vocabulary_of(words, WORDS, 0);
    static struct drawing drawing;
    draw_many_states(&drawing);
    wf_automaton *automaton = make(vocabulary, &drawing, (size_t)64 << 10);
    pthread_t threads[4];
    for (uint32_t i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, follow_many, wf_automaton_retain(automaton)) != 0)
            exit(1);
    wf_automaton_release(automaton);
    for (uint32_t i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        CHECK(wrong == NULL, "thread %u", i);
    }
    wf_vocabulary_destroy(vocabulary);
}

/* ---- What it costs ---- */

static double now_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

/* 128 thousand tokens as a byte-level vocabulary has them: all bytes, and words that grow from one another. */
static wf_vocabulary *large_vocabulary(void) {
    enum { COUNT = 128000, BYTES = 20 * COUNT };
    uint8_t *bytes = need(malloc(BYTES));
    uint32_t *offsets = need(calloc(COUNT + 1, sizeof *offsets));
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t length = 1;
        uint8_t *at = bytes + offsets[i];
        if (i < 256) {
            at[0] = (uint8_t)i;
        } else {
            /* An earlier token and one to three letters more. */
            const uint32_t from = one_in(3) ? ' ' : 256 + below(i - 255) - 1;
            const uint32_t begin = offsets[from], taken = offsets[from + 1] - begin;
            length = taken < 12 ? taken : 12;
            memcpy(at, bytes + begin, length);
            for (uint32_t more = 1 + below(3); more > 0; more--)
                at[length++] = (uint8_t) "etaoinshrdlucmfwypvbgkjqxz.\"1 "[below(one_in(3) ? 30 : 12)];
        }
        offsets[i + 1] = offsets[i] + length;
    }
    wf_vocabulary *vocabulary = wf_vocabulary_create(COUNT, bytes, offsets, COUNT, error, ERROR_BYTES);
    free(bytes);
    free(offsets);
    return vocabulary;
}

static void print_times(void) {
    const double started = now_us();
    wf_vocabulary *vocabulary = large_vocabulary();
    printf("vocabulary of %u tokens, %u nodes: %.0f us\n", vocabulary->count, vocabulary->node_count, now_us() - started);
    for (uint32_t bounded = 0; bounded < 2; bounded++) {
        static struct drawing drawing;
        drawing = (struct drawing){.rule_count = 2};
        const uint32_t begin = add_node(&drawing), inside = add_node(&drawing), close = add_node(&drawing),
                       end = add_node(&drawing);
        const uint32_t character = add_node(&drawing), escape = add_node(&drawing), tail = add_node(&drawing),
                       done = add_node(&drawing);
        drawing.rules[1] = character;
        drawing.is_final[end] = drawing.is_final[done] = true;
        add_bytes(&drawing, begin, '"', '"', inside);
        add_call(&drawing, inside, 1, 0, bounded ? 1000 : WF_GRAMMAR_NO_END, close);
        add_bytes(&drawing, close, '"', '"', end);
        add_bytes(&drawing, character, 0x20, 0x21, done);
        add_bytes(&drawing, character, 0x23, 0x5b, done);
        add_bytes(&drawing, character, 0x5d, 0x7f, done);
        add_bytes(&drawing, character, '\\', '\\', escape);
        add_bytes(&drawing, escape, 'n', 'n', done);
        add_bytes(&drawing, character, 0xc2, 0xdf, tail);
        add_bytes(&drawing, tail, 0x80, 0xbf, done);
        wf_automaton *automaton = make(vocabulary, &drawing, ROOMY);
        wf_matcher matcher = {.automaton = automaton};
        uint64_t *allowed = malloc(wf_mask_words(vocabulary->count) * sizeof *allowed);
        static uint32_t answer[200];
        double worst = 0, sum = 0;
        bool ends;
        answer[0] = '"';
        for (uint32_t count = 0; count < 200; count++) {
            const double from = now_us();
            const int32_t tokens = wf_matcher_allow(&matcher, answer, count, allowed, &ends);
            const double us = now_us() - from;
            if (count < 4)
                printf("  string%s, step %u: %.1f us, %d tokens\n", bounded ? " of at most 1000" : "", count, us, tokens);
            if (count >= 4) {
                worst = us > worst ? us : worst;
                sum += us;
            }
            if (count > 0)
                answer[count] = 'a' + below(26);
        }
        printf("  later steps: %.1f us on average, %.1f us at most; %zu KB\n", sum / 196, worst,
               wf_automaton_memory(automaton) >> 10);
        free(allowed);
        wf_automaton_release(automaton);
    }
    wf_vocabulary_destroy(vocabulary);
}

int main(void) {
    if (!WATCHES_RACES) {
        test_random_grammars();
        test_memory();
        test_bounds();
        test_crowded_node();
        test_warmth();
        test_hostile_blobs();
        test_vocabularies();
        test_cache();
    }
    test_threads();
    if (getenv("WF_GRAMMAR_TIMES") != NULL)
        print_times();
    return check_report();
}

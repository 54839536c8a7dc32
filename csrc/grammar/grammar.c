/*
 * grammar.c: reads a grammar and checks all that automaton.c relies on.
 */
#include "grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define HEADER_WORDS 5U

static uint32_t word_at(const uint8_t *blob, uint64_t index) {
    const uint8_t *at = blob + index * 4;
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Fills the rules and the nodes; `words` is where they begin. */
static int read_nodes(wf_grammar *grammar, uint64_t words, char *error, uint32_t error_size) {
    for (uint32_t i = 0; i < grammar->rule_count; i++) {
        grammar->rules[i] = word_at(grammar->blob, words + i);
        if (grammar->rules[i] >= grammar->node_count)
            return wf_fail(error, error_size, "the grammar's rule %u begins at node %u of %u", i, grammar->rules[i],
                           grammar->node_count);
    }
    words += grammar->rule_count;
    uint32_t before = 0;
    for (uint32_t i = 0; i < grammar->node_count; i++) {
        const uint32_t word = word_at(grammar->blob, words + i);
        grammar->is_final[i] = (word & WF_GRAMMAR_FINAL) != 0;
        grammar->first[i] = word & ~WF_GRAMMAR_FINAL;
        if (grammar->first[i] < before || grammar->first[i] > grammar->edge_count || (i == 0 && grammar->first[i] != 0))
            return wf_fail(error, error_size, "the edges of the grammar's node %u begin at %u of %u", i, grammar->first[i],
                           grammar->edge_count);
        before = grammar->first[i];
    }
    grammar->first[grammar->node_count] = grammar->edge_count;
    return 0;
}

/* Fills the edges and the calls. */
static int read_edges(wf_grammar *grammar, uint64_t words, char *error, uint32_t error_size) {
    for (uint32_t i = 0; i < grammar->edge_count; i++, words += 2) {
        const uint32_t word = word_at(grammar->blob, words);
        wf_edge *edge = &grammar->edges[i];
        *edge = (wf_edge){.kind = (uint8_t)(word & 0xff), .next = word_at(grammar->blob, words + 1)};
        if (edge->next >= grammar->node_count)
            return wf_fail(error, error_size, "the grammar's edge %u leads to node %u of %u", i, edge->next, grammar->node_count);
        if (edge->kind == WF_EDGE_BYTES) {
            edge->low = (uint8_t)(word >> 8 & 0xff);
            edge->high = (uint8_t)(word >> 16 & 0xff);
            if (edge->low > edge->high)
                return wf_fail(error, error_size, "the grammar's edge %u reads bytes from %u down to %u", i, edge->low, edge->high);
        } else if (edge->kind == WF_EDGE_CALL) {
            edge->call = word >> 8;
            if (edge->call >= grammar->call_count)
                return wf_fail(error, error_size, "the grammar's edge %u is call %u of %u", i, edge->call, grammar->call_count);
        } else if (edge->kind != WF_EDGE_EMPTY) {
            return wf_fail(error, error_size, "the grammar's edge %u is of the unknown kind %u", i, edge->kind);
        }
    }
    for (uint32_t i = 0; i < grammar->call_count; i++, words += 3) {
        wf_call *call = &grammar->calls[i];
        *call = (wf_call){word_at(grammar->blob, words), word_at(grammar->blob, words + 1), word_at(grammar->blob, words + 2)};
        if (call->rule >= grammar->rule_count || call->maximum == 0 || call->minimum > call->maximum ||
            call->minimum == WF_GRAMMAR_NO_END)
            return wf_fail(error, error_size, "the grammar's call %u is of rule %u of %u, %u to %u times", i, call->rule,
                           grammar->rule_count, call->minimum, call->maximum);
    }
    return 0;
}

static void find_classes(wf_grammar *grammar) {
    bool begins[257] = {true};
    for (uint32_t i = 0; i < grammar->edge_count; i++)
        if (grammar->edges[i].kind == WF_EDGE_BYTES)
            begins[grammar->edges[i].low] = begins[grammar->edges[i].high + 1] = true;
    uint32_t count = 0;
    for (uint32_t byte = 0; byte < 256; byte++) {
        count += begins[byte];
        grammar->classes[byte] = (uint8_t)(count - 1);
    }
    grammar->class_count = count;
}

int wf_grammar_open(wf_grammar *grammar, const uint8_t *blob, uint32_t size, char *error, uint32_t error_size) {
    *grammar = (wf_grammar){.size = size};
    if (size > WF_GRAMMAR_BYTES_MAX)
        return wf_fail(error, error_size, "the grammar has %u bytes; at most %u can be had", size, WF_GRAMMAR_BYTES_MAX);
    if (size < HEADER_WORDS * 4 || size % 4 != 0 || word_at(blob, 0) != WF_GRAMMAR_MAGIC)
        return wf_fail(error, error_size, "these %u bytes are no grammar", size);
    grammar->rule_count = word_at(blob, 1);
    grammar->node_count = word_at(blob, 2);
    grammar->edge_count = word_at(blob, 3);
    grammar->call_count = word_at(blob, 4);
    const uint64_t words = HEADER_WORDS + (uint64_t)grammar->rule_count + grammar->node_count + (uint64_t)grammar->edge_count * 2 +
                           (uint64_t)grammar->call_count * 3;
    if (words * 4 != size)
        return wf_fail(error, error_size, "the grammar has %u bytes and speaks of %llu", size, (unsigned long long)words * 4);
    if (grammar->rule_count == 0 || grammar->node_count == 0)
        return wf_fail(error, error_size, "the grammar has no rule");
    grammar->blob = malloc(size);
    grammar->rules = calloc(grammar->rule_count, sizeof *grammar->rules);
    grammar->first = calloc((size_t)grammar->node_count + 1, sizeof *grammar->first);
    grammar->is_final = calloc(grammar->node_count, sizeof *grammar->is_final);
    grammar->edges = calloc((size_t)grammar->edge_count + 1, sizeof *grammar->edges);
    grammar->calls = calloc((size_t)grammar->call_count + 1, sizeof *grammar->calls);
    int result = -1;
    if (!grammar->blob || !grammar->rules || !grammar->first || !grammar->is_final || !grammar->edges || !grammar->calls) {
        wf_fail(error, error_size, "no memory for a grammar of %u bytes", size);
    } else {
        memcpy(grammar->blob, blob, size);
        result = read_nodes(grammar, HEADER_WORDS, error, error_size);
        if (result == 0)
            result = read_edges(grammar, HEADER_WORDS + (uint64_t)grammar->rule_count + grammar->node_count, error, error_size);
    }
    if (result != 0)
        wf_grammar_close(grammar);
    else
        find_classes(grammar);
    return result;
}

void wf_grammar_close(wf_grammar *grammar) {
    free(grammar->blob);
    free(grammar->rules);
    free(grammar->first);
    free(grammar->is_final);
    free(grammar->edges);
    free(grammar->calls);
    *grammar = (wf_grammar){0};
}

/*
 * grammar.h: a grammar over bytes, as a request brings it: what its answer must look like.
 *
 * A grammar is a set of rules, each a nondeterministic automaton whose edges read a byte of a range, read nothing, or read what another
 * rule describes, so and so many times. It arrives as 32-bit words, little-endian:
 *
 *   WF_GRAMMAR_MAGIC, rules, nodes, edges, calls        the numbers of each
 *   [rules]     the node that the rule begins with; rule 0 is the whole answer
 *   [nodes]     its first edge, | WF_GRAMMAR_FINAL where the rule may end; the edges end where the next node's begin
 *   [edges][2]  a kind | an argument << 8, then the node behind it
 *                 WF_EDGE_BYTES: argument = lowest byte | highest byte << 8
 *                 WF_EDGE_EMPTY: no argument
 *                 WF_EDGE_CALL:  argument = index of a call
 *   [calls][3]  the rule, how often at least, how often at most (UINT32_MAX: without end)
 *
 * It comes from a stranger, so everything is checked here: nothing that this file lets through can lead outside of its arrays.
 */
#ifndef WF_GRAMMAR_H
#define WF_GRAMMAR_H

#include <stdbool.h>
#include <stdint.h>

#define WF_GRAMMAR_MAGIC 0x31474657U /* "WFG1" */
#define WF_GRAMMAR_FINAL 0x80000000U
#define WF_GRAMMAR_NO_END UINT32_MAX

/* Larger grammars are refused. */
#define WF_GRAMMAR_BYTES_MAX (8U << 20)

enum { WF_EDGE_BYTES, WF_EDGE_EMPTY, WF_EDGE_CALL };

typedef struct wf_edge {
    uint8_t kind;
    uint8_t low, high; /* WF_EDGE_BYTES */
    uint32_t call;     /* WF_EDGE_CALL */
    uint32_t next;
} wf_edge;

typedef struct wf_call {
    uint32_t rule, minimum, maximum;
} wf_call;

typedef struct wf_grammar {
    uint8_t *blob; /* [size] as it came, to be compared */
    uint32_t size;
    uint32_t rule_count, node_count, edge_count, call_count;
    uint32_t *rules;      /* [rule_count] first nodes */
    uint32_t *first;      /* [node_count + 1] edges of a node: first[n] … first[n + 1] − 1 */
    bool *is_final;       /* [node_count] */
    wf_edge *edges;       /* [edge_count] */
    wf_call *calls;       /* [call_count] */
    uint8_t classes[256]; /* bytes that no edge tells apart are of one class */
    uint32_t class_count;
} wf_grammar;

/* Reads a grammar; nothing of `blob` is kept. Returns 0, or -1 with `error`, and then there is nothing to close. */
int wf_grammar_open(wf_grammar *grammar, const uint8_t *blob, uint32_t size, char *error, uint32_t error_size);

void wf_grammar_close(wf_grammar *grammar);

#endif

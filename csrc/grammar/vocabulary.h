/*
 * vocabulary.h: the bytes of all tokens as a trie, for grammars, which speak of bytes while models choose tokens.
 */
#ifndef WF_VOCABULARY_H
#define WF_VOCABULARY_H

#include <stdint.h>

/* Longer tokens are left out of the trie: no grammar allows them. */
#define WF_TOKEN_BYTES_MAX 512U

/* A prefix of some tokens: its parent's and one byte more. Nodes lie in depth-first order, children by their bytes. */
typedef struct wf_trie_node {
    uint32_t end;   /* the node after the last one below this: where to go on when this prefix is of no use */
    uint32_t first; /* place in `sorted` of the first token that is this prefix; they end where the next node's begin */
    uint16_t depth; /* bytes of the prefix, from 1 */
    uint8_t byte;   /* its last one */
} wf_trie_node;

typedef struct wf_vocabulary {
    uint32_t count;      /* tokens of the model, with bytes or without */
    uint8_t *bytes;      /* token t is bytes[offsets[t]] … bytes[offsets[t + 1] − 1] */
    uint32_t *offsets;   /* [count + 1] */
    wf_trie_node *nodes; /* [node_count + 1]; the last one only says where the tokens of the one before it end */
    uint32_t node_count;
    uint32_t *sorted; /* the tokens in the trie, by their bytes */
} wf_vocabulary;

/* The 64-bit words of a set of tokens. */
static inline uint32_t wf_mask_words(uint32_t vocabulary) { return (vocabulary + 63) / 64; }

/* A vocabulary of `count` tokens from the bytes of the first `given` of them: offsets[given + 1], of which the last is the number of
 * bytes. Tokens without bytes, and those after the given ones, are in no grammar. NULL with `error`. */
wf_vocabulary *wf_vocabulary_create(uint32_t count, const uint8_t *bytes, const uint32_t *offsets, uint32_t given, char *error,
                                    uint32_t error_size);

/* NULL is allowed. */
void wf_vocabulary_destroy(wf_vocabulary *vocabulary);

#endif

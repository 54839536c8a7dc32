/*
 * vocabulary.c: sorts the tokens by their bytes and lays the trie of their prefixes out flat.
 *
 * Sorted tokens are a depth-first walk through the trie already, so one pass that compares each token with the one before it makes
 * the nodes in the order in which grammars walk them.
 */
#include "grammar/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct entry {
    const uint8_t *bytes;
    uint32_t length;
    uint32_t token;
};

/* By bytes, then by token. */
static int by_bytes(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    const int order = memcmp(a->bytes, b->bytes, a->length < b->length ? a->length : b->length);
    if (order != 0)
        return order;
    if (a->length != b->length)
        return a->length < b->length ? -1 : 1;
    return a->token < b->token ? -1 : a->token > b->token;
}

/* Fills nodes and sorted from entries[count] in order. */
static void build_trie(wf_vocabulary *vocabulary, const struct entry *entries, uint32_t count) {
    uint32_t path[WF_TOKEN_BYTES_MAX]; /* nodes of the last token's prefixes */
    uint32_t depth = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct entry *entry = &entries[i];
        uint32_t common = 0;
        if (i > 0)
            while (common < depth && common < entry->length && entries[i - 1].bytes[common] == entry->bytes[common])
                common++;
        while (depth > common)
            vocabulary->nodes[path[--depth]].end = vocabulary->node_count;
        for (; depth < entry->length; depth++) {
            path[depth] = vocabulary->node_count;
            vocabulary->nodes[vocabulary->node_count++] =
                (wf_trie_node){.first = i, .depth = (uint16_t)(depth + 1), .byte = entry->bytes[depth]};
        }
        vocabulary->sorted[i] = entry->token;
    }
    while (depth > 0)
        vocabulary->nodes[path[--depth]].end = vocabulary->node_count;
    vocabulary->nodes[vocabulary->node_count] = (wf_trie_node){.end = vocabulary->node_count, .first = count};
}

wf_vocabulary *wf_vocabulary_create(uint32_t count, const uint8_t *bytes, const uint32_t *offsets, uint32_t given, char *error,
                                    uint32_t error_size) {
    if (given > count) {
        wf_fail(error, error_size, "the bytes of %u tokens are given; the model has %u", given, count);
        return NULL;
    }
    for (uint32_t token = 0; token < given; token++)
        if (offsets[token] > offsets[token + 1]) {
            wf_fail(error, error_size, "the bytes of token %u end before they begin", token);
            return NULL;
        }
    const uint32_t first = offsets[0], size = offsets[given] - first;
    wf_vocabulary *vocabulary = calloc(1, sizeof *vocabulary);
    struct entry *entries = calloc((size_t)given + 1, sizeof *entries);
    if (vocabulary == NULL || entries == NULL)
        goto no_memory;
    vocabulary->count = count;
    vocabulary->bytes = malloc((size_t)size + 1);
    vocabulary->offsets = calloc((size_t)count + 1, sizeof *vocabulary->offsets);
    vocabulary->sorted = calloc((size_t)given + 1, sizeof *vocabulary->sorted);
    /* A token's path has no more nodes than it has bytes. */
    vocabulary->nodes = malloc(((size_t)size + 1) * sizeof *vocabulary->nodes);
    if (!vocabulary->bytes || !vocabulary->offsets || !vocabulary->sorted || !vocabulary->nodes)
        goto no_memory;
    if (size > 0)
        memcpy(vocabulary->bytes, bytes + first, size);
    uint32_t used = 0;
    for (uint32_t token = 0; token <= count; token++) {
        vocabulary->offsets[token] = token <= given ? offsets[token] - first : size;
        if (token == 0)
            continue;
        const uint32_t begin = vocabulary->offsets[token - 1], length = vocabulary->offsets[token] - begin;
        if (length > 0 && length <= WF_TOKEN_BYTES_MAX)
            entries[used++] = (struct entry){vocabulary->bytes + begin, length, token - 1};
    }
    qsort(entries, used, sizeof *entries, by_bytes);
    build_trie(vocabulary, entries, used);
    free(entries);
    return vocabulary;

no_memory:
    free(entries);
    wf_vocabulary_destroy(vocabulary);
    wf_fail(error, error_size, "no memory for the bytes of %u tokens", given);
    return NULL;
}

void wf_vocabulary_destroy(wf_vocabulary *vocabulary) {
    if (vocabulary == NULL)
        return;
    free(vocabulary->bytes);
    free(vocabulary->offsets);
    free(vocabulary->nodes);
    free(vocabulary->sorted);
    free(vocabulary);
}

/*
 * json.h: a strict, bounded JSON reader for the headers of packed files.
 *
 * Headers come from strangers, so the reader accepts exactly RFC 8259 and then some limits: UTF-8 must be valid, keys
 * of an object must differ, strings hold no NUL (C code would read them as shorter than they are), nesting and the
 * number of values are bounded. A document becomes one flat array of nodes in the order of the text; memory is at most
 * about 50 times the number of values plus one copy of the text (only when a string has escapes).
 */
#ifndef WF_JSON_H
#define WF_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Arrays and objects within each other. */
#define JSON_MAX_DEPTH 32U

/* The longest number, in characters. */
#define JSON_MAX_NUMBER 63U

enum json_kind {
    JSON_NULL,
    JSON_BOOLEAN,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

/* One value, or one key of an object. The members of an object follow it as key, value, key, value, …; the elements of
 * an array follow it likewise. Either may hold further values, so the way from one to the next is `next`. */
struct json_node {
    enum json_kind kind;
    uint32_t length; /* string: its bytes; array: its elements; object: its members */
    uint32_t next;   /* index of the first node behind this one and all that it holds */
    bool integer;    /* number: it was written as -?digits and its magnitude is below 2^53, so `number` is exact */
    union {
        bool boolean;
        double number;      /* finite */
        const char *string; /* [length] UTF-8, not terminated, in the text that was read or in the document */
    } as;
};

/* A document that was read. nodes[0] is its value. */
struct json_document {
    struct json_node *nodes; /* [count] */
    uint32_t count;
    char *unescaped; /* the strings that had escapes, one after another; NULL when there were none */
};

/* Reads text[length], which must stay in place as long as the document is used. At most `max_nodes` values and keys are
 * accepted. Returns 0, or -1 with `error` = "at byte N: …" and nothing to free. */
int json_parse(const char *text, size_t length, uint32_t max_nodes, struct json_document *document, char *error,
               uint32_t error_size);

/* Frees what json_parse allocated. */
void json_free(struct json_document *document);

/* The value of `key` in the object at index `object`, or NULL when it has none. Linear in the object's members. */
const struct json_node *json_member(const struct json_document *document, uint32_t object, const char *key);

/* Whether `node` is the string `text`. */
bool json_is_string(const struct json_node *node, const char *text);

/* Whether `node` is an integer from 0 to `maximum`, which is then put into *value. */
bool json_unsigned(const struct json_node *node, uint64_t maximum, uint64_t *value);

#endif

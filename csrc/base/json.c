/*
 * json.c: reads JSON into a flat array of nodes; json.h says which JSON and why.
 *
 * Recursive descent over the text, at most JSON_MAX_DEPTH deep. Duplicate keys are found by sorting an object's keys
 * once it is read, so that no text makes the reader quadratic.
 */
#include "base/json.h"

#include "base/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_NODES 64U

/* 2^53. An integer that reads as less than this was written as exactly that; 2^53 itself may have been 2^53 + 1. */
#define EXACT_INTEGER 9007199254740992.0

/* Where the reader is. */
struct json_reader {
    const char *text;
    size_t length;
    size_t at;
    struct json_document *document;
    uint32_t capacity; /* of document->nodes */
    uint32_t max_nodes;
    size_t unescaped_used; /* bytes of document->unescaped, which has room for the whole text */
    char *error;
    uint32_t error_size;
};

static int parse_value(struct json_reader *reader, uint32_t depth);

static int fail_at(const struct json_reader *reader, size_t at, const char *fault) {
    return wf_fail(reader->error, reader->error_size, "at byte %zu: %s", at, fault);
}

static int fail(const struct json_reader *reader, const char *fault) { return fail_at(reader, reader->at, fault); }

/* The next byte, or -1 at the end of the text. */
static int peek(const struct json_reader *reader) {
    return reader->at < reader->length ? (unsigned char)reader->text[reader->at] : -1;
}

static void skip_spaces(struct json_reader *reader) {
    for (int byte = peek(reader); byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; byte = peek(reader))
        reader->at++;
}

/* Appends a node and puts its index into *index. */
static int add_node(struct json_reader *reader, enum json_kind kind, uint32_t *index) {
    struct json_document *document = reader->document;
    if (document->count == reader->max_nodes) {
        return wf_fail(reader->error, reader->error_size, "at byte %zu: more than %" PRIu32 " values", reader->at,
                       reader->max_nodes);
    }
    if (document->count == reader->capacity) {
        const uint32_t doubled = reader->capacity == 0 ? FIRST_NODES : reader->capacity * 2U;
        const uint32_t capacity = doubled < reader->max_nodes ? doubled : reader->max_nodes;
        struct json_node *nodes = realloc(document->nodes, (size_t)capacity * sizeof *nodes);
        if (nodes == NULL)
            return fail(reader, "no memory left for its values");
        document->nodes = nodes;
        reader->capacity = capacity;
    }
    *index = document->count++;
    document->nodes[*index] = (struct json_node){.kind = kind, .next = document->count};
    return 0;
}

/* The length of the UTF-8 character at the reader's place, or 0 when there is no valid one (RFC 3629: nothing overlong,
 * no surrogates, nothing past U+10FFFF). */
static size_t utf8_length(const struct json_reader *reader) {
    const unsigned char *bytes = (const unsigned char *)reader->text + reader->at;
    const size_t left = reader->length - reader->at;
    const unsigned char lead = bytes[0];
    if (lead < 0x80U)
        return 1;
    const size_t length = lead >= 0xF0U ? 4 : lead >= 0xE0U ? 3 : 2;
    if (lead < 0xC2U || lead > 0xF4U || length > left)
        return 0;
    const unsigned char lowest = lead == 0xE0U ? 0xA0U : lead == 0xF0U ? 0x90U : 0x80U;
    const unsigned char highest = lead == 0xEDU ? 0x9FU : lead == 0xF4U ? 0x8FU : 0xBFU;
    if (bytes[1] < lowest || bytes[1] > highest)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((bytes[i] & 0xC0U) != 0x80U)
            return 0;
    return length;
}

/* Reads the four hexadecimal digits of a \u escape; -1 when there are none. */
static int32_t parse_hex4(struct json_reader *reader) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        const int byte = peek(reader);
        int digit;
        if (byte >= '0' && byte <= '9')
            digit = byte - '0';
        else if (byte >= 'a' && byte <= 'f')
            digit = byte - 'a' + 10;
        else if (byte >= 'A' && byte <= 'F')
            digit = byte - 'A' + 10;
        else
            return -1;
        value = value * 16 + digit;
        reader->at++;
    }
    return value;
}

/* Writes a code point as UTF-8 and returns its length. It is at most 4 bytes, its escape at least 6. */
static size_t put_utf8(char *out, uint32_t code) {
    if (code < 0x80U) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800U ? 2 : code < 0x10000U ? 3 : 4;
    static const unsigned char leads[5] = {0, 0, 0xC0U, 0xE0U, 0xF0U};
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80U | (code & 0x3FU));
        code >>= 6;
    }
    out[0] = (char)(leads[length] | code);
    return length;
}

/* Reads what follows the \u of an escape, with its second half for a surrogate pair, and puts it at `out`. */
static int parse_unicode_escape(struct json_reader *reader, char *out, size_t *length) {
    const int32_t first = parse_hex4(reader);
    if (first < 0)
        return fail(reader, "\\u needs four hexadecimal digits");
    if (first == 0)
        return fail(reader, "a string holds a NUL");
    uint32_t code = (uint32_t)first;
    if (code >= 0xD800U && code <= 0xDFFFU) {
        int32_t second = -1;
        if (code < 0xDC00U && reader->length - reader->at >= 2 && memcmp(reader->text + reader->at, "\\u", 2) == 0) {
            reader->at += 2;
            second = parse_hex4(reader);
        }
        if (second < 0xDC00 || second > 0xDFFF)
            return fail(reader, "a surrogate without its other half");
        code = 0x10000U + ((code - 0xD800U) << 10) + ((uint32_t)second - 0xDC00U);
    }
    *length = put_utf8(out, code);
    return 0;
}

/* Reads what follows a backslash and appends the character that it means. */
static int parse_escape(struct json_reader *reader) {
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    char *out = reader->document->unescaped + reader->unescaped_used;
    const int byte = peek(reader);
    if (byte == 'u') {
        reader->at++;
        size_t length = 0;
        if (parse_unicode_escape(reader, out, &length) != 0)
            return -1;
        reader->unescaped_used += length;
        return 0;
    }
    const char *letter = byte > 0 ? strchr(letters, byte) : NULL;
    if (letter == NULL)
        return fail(reader, "an unknown escape");
    *out = meanings[letter - letters];
    reader->unescaped_used++;
    reader->at++;
    return 0;
}

/* Reads a string, the reader standing on its opening quote. Without escapes the node points into the text; from the
 * first escape on the string is copied. */
static int parse_string(struct json_reader *reader) {
    uint32_t index = 0;
    if (add_node(reader, JSON_STRING, &index) != 0)
        return -1;
    struct json_document *document = reader->document;
    const size_t start = ++reader->at;
    const size_t copy = reader->unescaped_used;
    bool copying = false;
    for (;;) {
        const int byte = peek(reader);
        if (byte < 0)
            return fail_at(reader, start - 1, "a string without an end");
        if (byte == '"')
            break;
        if (byte < 0x20)
            return fail(reader, "a control character in a string");
        if (byte == '\\') {
            if (document->unescaped == NULL) {
                document->unescaped = malloc(reader->length);
                if (document->unescaped == NULL)
                    return fail(reader, "no memory left for its strings");
            }
            if (!copying) {
                copying = true;
                memcpy(document->unescaped + copy, reader->text + start, reader->at - start);
                reader->unescaped_used += reader->at - start;
            }
            reader->at++;
            if (parse_escape(reader) != 0)
                return -1;
            continue;
        }
        const size_t length = utf8_length(reader);
        if (length == 0)
            return fail(reader, "invalid UTF-8");
        if (copying) {
            memcpy(document->unescaped + reader->unescaped_used, reader->text + reader->at, length);
            reader->unescaped_used += length;
        }
        reader->at += length;
    }
    struct json_node *node = &document->nodes[index];
    node->as.string = copying ? document->unescaped + copy : reader->text + start;
    node->length = (uint32_t)(copying ? reader->unescaped_used - copy : reader->at - start);
    reader->at++;
    return 0;
}

/* Skips decimal digits and returns how many there were. */
static size_t skip_digits(struct json_reader *reader) {
    const size_t start = reader->at;
    for (int byte = peek(reader); byte >= '0' && byte <= '9'; byte = peek(reader))
        reader->at++;
    return reader->at - start;
}

/* Reads a number, the reader standing on its first character. */
static int parse_number(struct json_reader *reader) {
    const size_t start = reader->at;
    bool integer = true;
    if (peek(reader) == '-')
        reader->at++;
    const bool zero = peek(reader) == '0';
    const size_t digits = skip_digits(reader);
    if (digits == 0 || (zero && digits > 1))
        return fail_at(reader, start, "an invalid number");
    if (peek(reader) == '.') {
        integer = false;
        reader->at++;
        if (skip_digits(reader) == 0)
            return fail_at(reader, start, "an invalid number");
    }
    if (peek(reader) == 'e' || peek(reader) == 'E') {
        integer = false;
        reader->at++;
        if (peek(reader) == '+' || peek(reader) == '-')
            reader->at++;
        if (skip_digits(reader) == 0)
            return fail_at(reader, start, "an invalid number");
    }
    char copy[JSON_MAX_NUMBER + 1];
    const size_t length = reader->at - start;
    if (length > JSON_MAX_NUMBER)
        return fail_at(reader, start, "a number with too many digits");
    memcpy(copy, reader->text + start, length);
    copy[length] = '\0';
    /* strtod follows the locale: where a comma is the decimal mark it stops at the point. Then the number is refused,
     * not misread. */
    char *end;
    const double number = strtod(copy, &end);
    if (end != copy + length || !isfinite(number))
        return fail_at(reader, start, "a number out of range");
    uint32_t index = 0;
    if (add_node(reader, JSON_NUMBER, &index) != 0)
        return -1;
    reader->document->nodes[index].integer = integer && fabs(number) < EXACT_INTEGER;
    reader->document->nodes[index].as.number = number;
    return 0;
}

/* Reads `word`, a null, true or false. */
static int parse_word(struct json_reader *reader, const char *word, enum json_kind kind, bool boolean) {
    const size_t length = strlen(word);
    if (reader->length - reader->at < length || memcmp(reader->text + reader->at, word, length) != 0)
        return fail(reader, "an unknown word");
    uint32_t index = 0;
    if (add_node(reader, kind, &index) != 0)
        return -1;
    reader->document->nodes[index].as.boolean = boolean;
    reader->at += length;
    return 0;
}

static int compare_strings(const struct json_node *left, const struct json_node *right) {
    const uint32_t shorter = left->length < right->length ? left->length : right->length;
    const int order = shorter == 0 ? 0 : memcmp(left->as.string, right->as.string, shorter);
    return order != 0 ? order : (left->length > right->length) - (left->length < right->length);
}

static int compare_keys(const void *left, const void *right) {
    return compare_strings(*(const struct json_node *const *)left, *(const struct json_node *const *)right);
}

/* Refuses the object at `index`, which is read to its end, when two of its keys are equal. */
static int check_keys(const struct json_reader *reader, uint32_t index) {
    const struct json_node *nodes = reader->document->nodes;
    const uint32_t length = nodes[index].length;
    if (length < 2)
        return 0;
    const struct json_node **keys = malloc((size_t)length * sizeof(*keys));
    if (keys == NULL)
        return fail(reader, "no memory left for its keys");
    uint32_t at = index + 1;
    for (uint32_t i = 0; i < length; i++) {
        keys[i] = &nodes[at];
        at = nodes[at + 1].next;
    }
    qsort(keys, length, sizeof(*keys), compare_keys);
    int status = 0;
    for (uint32_t i = 1; i < length && status == 0; i++) {
        if (compare_strings(keys[i - 1], keys[i]) == 0) {
            const int shown = keys[i]->length < 100 ? (int)keys[i]->length : 100;
            status = wf_fail(reader->error, reader->error_size, "at byte %zu: two entries named \"%.*s\" in one object", reader->at,
                             shown, keys[i]->as.string);
        }
    }
    free(keys);
    return status;
}

/* Reads a key and the colon after it. */
static int parse_key(struct json_reader *reader) {
    skip_spaces(reader);
    if (peek(reader) != '"')
        return fail(reader, "expected a key in quotes");
    if (parse_string(reader) != 0)
        return -1;
    skip_spaces(reader);
    if (peek(reader) != ':')
        return fail(reader, "expected ':'");
    reader->at++;
    return 0;
}

/* Reads an array or an object, the reader standing on its bracket. `depth` is that of the values in it. */
static int parse_list(struct json_reader *reader, enum json_kind kind, uint32_t depth) {
    const bool is_object = kind == JSON_OBJECT;
    const int end = is_object ? '}' : ']';
    uint32_t index = 0;
    if (add_node(reader, kind, &index) != 0)
        return -1;
    uint32_t length = 0;
    reader->at++;
    skip_spaces(reader);
    if (peek(reader) != end) {
        for (;;) {
            if ((is_object && parse_key(reader) != 0) || parse_value(reader, depth) != 0)
                return -1;
            length++;
            if (peek(reader) != ',')
                break;
            reader->at++;
        }
        if (peek(reader) != end)
            return fail(reader, is_object ? "expected ',' or '}'" : "expected ',' or ']'");
    }
    reader->at++;
    reader->document->nodes[index].length = length;
    reader->document->nodes[index].next = reader->document->count;
    return is_object ? check_keys(reader, index) : 0;
}

/* Reads one value with the spaces around it. `depth` counts the arrays and objects that it is in. */
static int parse_value(struct json_reader *reader, uint32_t depth) {
    skip_spaces(reader);
    const int byte = peek(reader);
    int status;
    if (byte == '{' || byte == '[') {
        if (depth == JSON_MAX_DEPTH)
            return fail(reader, "nested too deeply");
        status = parse_list(reader, byte == '{' ? JSON_OBJECT : JSON_ARRAY, depth + 1);
    } else if (byte == '"') {
        status = parse_string(reader);
    } else if (byte == '-' || (byte >= '0' && byte <= '9')) {
        status = parse_number(reader);
    } else if (byte == 't') {
        status = parse_word(reader, "true", JSON_BOOLEAN, true);
    } else if (byte == 'f') {
        status = parse_word(reader, "false", JSON_BOOLEAN, false);
    } else if (byte == 'n') {
        status = parse_word(reader, "null", JSON_NULL, false);
    } else {
        return fail(reader, byte < 0 ? "a value is missing at the end" : "expected a value");
    }
    skip_spaces(reader);
    return status;
}

int json_parse(const char *text, size_t length, uint32_t max_nodes, struct json_document *document, char *error,
               uint32_t error_size) {
    *document = (struct json_document){0};
    if (length > UINT32_MAX)
        return wf_fail(error, error_size, "at byte 0: a text of %zu bytes is too long", length);
    struct json_reader reader = {
        .text = text,
        .length = length,
        .document = document,
        .max_nodes = max_nodes < UINT32_MAX / 2U ? max_nodes : UINT32_MAX / 2U,
        .error = error,
        .error_size = error_size,
    };
    int status = parse_value(&reader, 0);
    if (status == 0 && reader.at != length)
        status = fail(&reader, "text after the end of the value");
    if (status != 0)
        json_free(document);
    return status;
}

void json_free(struct json_document *document) {
    free(document->nodes);
    free(document->unescaped);
    *document = (struct json_document){0};
}

const struct json_node *json_member(const struct json_document *document, uint32_t object, const char *key) {
    uint32_t at = object + 1;
    for (uint32_t i = 0; i < document->nodes[object].length; i++) {
        if (json_is_string(&document->nodes[at], key))
            return &document->nodes[at + 1];
        at = document->nodes[at + 1].next;
    }
    return NULL;
}

bool json_is_string(const struct json_node *node, const char *text) {
    const size_t length = strlen(text);
    return node->kind == JSON_STRING && node->length == length && memcmp(node->as.string, text, length) == 0;
}

bool json_unsigned(const struct json_node *node, uint64_t maximum, uint64_t *value) {
    if (node->kind != JSON_NUMBER || !node->integer || node->as.number < 0.0 || (uint64_t)node->as.number > maximum)
        return false;
    *value = (uint64_t)node->as.number;
    return true;
}

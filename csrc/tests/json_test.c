/*
 * json_test.c: the JSON reader on texts that are right, wrong and random. Every text is copied to memory of exactly its
 * size, so that the sanitizers see a read past its end.
 */
#include "base/json.h"

#include "check.h"

#include <stdlib.h>

#define ERROR_BYTES 128U
#define MOST_NODES 1000U

/* Parses text[length] from memory of exactly that size; the copy is left in *copy. */
static int parse(const char *text, size_t length, struct json_document *document, char **copy, char error[ERROR_BYTES]) {
    *copy = need(malloc(length == 0 ? 1 : length));
    memcpy(*copy, text, length);
    error[0] = '\0';
    return json_parse(*copy, length, MOST_NODES, document, error, ERROR_BYTES);
}

/* Walks a document: every node ends inside its parent, and every string can be read. */
static uint32_t walk(const struct json_document *document, uint32_t at, uint32_t end) {
    const struct json_node *node = &document->nodes[at];
    CHECK(node->next > at && node->next <= end, "node %u goes on to %u of %u", at, node->next, end);
    uint32_t sum = 0;
    if (node->kind == JSON_STRING) {
        for (uint32_t i = 0; i < node->length; i++) {
            sum += (unsigned char)node->as.string[i];
        }
        return sum;
    }
    if (node->kind != JSON_ARRAY && node->kind != JSON_OBJECT) {
        return sum;
    }
    const uint32_t children = node->kind == JSON_ARRAY ? node->length : node->length * 2;
    uint32_t child = at + 1;
    for (uint32_t i = 0; i < children; i++) {
        sum += walk(document, child, node->next);
        child = document->nodes[child].next;
    }
    CHECK(child == node->next, "node %u ends at %u, not %u", at, node->next, child);
    return sum;
}

static void accept(const char *text) {
    struct json_document document;
    char *copy;
    char error[ERROR_BYTES];
    const int status = parse(text, strlen(text), &document, &copy, error);
    CHECK(status == 0, "%s: %s", text, error);
    if (status == 0) {
        walk(&document, 0, document.count);
    }
    json_free(&document);
    free(copy);
}

static void refuse(const char *text, size_t length, const char *fault) {
    struct json_document document;
    char *copy;
    char error[ERROR_BYTES];
    const int status = parse(text, length, &document, &copy, error);
    CHECK(status == -1 && document.nodes == NULL && document.unescaped == NULL, "accepted %s", text);
    CHECK(check_is_line(error, ERROR_BYTES) && strncmp(error, "at byte ", 8) == 0 && strstr(error, fault) != NULL,
          "%s: expected \"%s\": %s", text, fault, error);
    json_free(&document);
    free(copy);
}

/* Expects that the JSON string `text`, quotes included, means `meaning`. */
static void means(const char *text, const char *meaning) {
    struct json_document document;
    char *copy;
    char error[ERROR_BYTES];
    const int status = parse(text, strlen(text), &document, &copy, error);
    CHECK(status == 0 && json_is_string(&document.nodes[0], meaning), "%s: %s", text, error);
    json_free(&document);
    free(copy);
}

/* Expects that `text` is the number `value`, and an exact integer or not. */
static void counts(const char *text, double value, bool integer) {
    struct json_document document;
    char *copy;
    char error[ERROR_BYTES];
    const int status = parse(text, strlen(text), &document, &copy, error);
    const struct json_node *node = document.nodes;
    CHECK(status == 0 && node->kind == JSON_NUMBER && node->as.number == value && node->integer == integer, "%s: %s", text, error);
    json_free(&document);
    free(copy);
}

static void test_values(void) {
    static const char *const valid[] = {
        "{}",
        "[]",
        " { } ",
        "[ ]",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "\"\"",
        "[[],{},[[]]]",
        "{\"\":{\"\":0}}",
        "\t\r\n [1 , 2\n,3]\t",
        "{\"a\":1,\"b\":[{\"a\":null}],\"aa\":2,\"A\":3}",
        "\"\xf0\x9f\x99\x82 \xc3\xa9 \xed\x9f\xbf \xee\x80\x80 \xf4\x8f\xbf\xbf \x7f\"",
    };
    for (size_t i = 0; i < sizeof valid / sizeof valid[0]; i++) {
        accept(valid[i]);
    }
    means("\"plain\"", "plain");
    means("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t");
    means("\"a\\u00e9b\\u20ACc\\ud83d\\uDE42d\\u0041\"", "a\xc3\xa9"
                                                         "b\xe2\x82\xac"
                                                         "c\xf0\x9f\x99\x82"
                                                         "dA");
    means("\"\\uD800\\uDC00\\uDBFF\\uDFFF\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
    counts("9007199254740991", 9007199254740991.0, true);
    counts("9007199254740992", 9007199254740992.0, false);
    counts("9007199254740993", 9007199254740992.0, false);
    counts("-12", -12.0, true);
    counts("12.0", 12.0, false);
    counts("1e3", 1000.0, false);
    counts("9.999999747378752e-06", 9.999999747378752e-06, false);
    counts("1E+2", 100.0, false);
}

static void test_faults(void) {
    static const struct {
        const char *text, *fault;
    } invalid[] = {
        {"", "a value is missing"},
        {"  ", "a value is missing"},
        {"{", "a key"},
        {"[", "a value is missing"},
        {"[1", "expected ',' or ']'"},
        {"[1,", "a value is missing"},
        {"[1,]", "expected a value"},
        {"[,1]", "expected a value"},
        {"[1 2]", "expected ',' or ']'"},
        {"{\"a\"}", "expected ':'"},
        {"{\"a\":}", "expected a value"},
        {"{\"a\":1,}", "a key"},
        {"{a:1}", "a key"},
        {"{1:1}", "a key"},
        {"{\"a\":1 \"b\":2}", "expected ',' or '}'"},
        {"{\"a\":1]", "expected ',' or '}'"},
        {"nul", "an unknown word"},
        {"True", "expected a value"},
        {"nullx", "after the end"},
        {"1 1", "after the end"},
        {"{}{}", "after the end"},
        {"01", "an invalid number"},
        {"-", "an invalid number"},
        {"1.", "an invalid number"},
        {".5", "expected a value"},
        {"+1", "expected a value"},
        {"1e", "an invalid number"},
        {"1e+", "an invalid number"},
        {"0x10", "after the end"},
        {"NaN", "expected a value"},
        {"-Infinity", "an invalid number"},
        {"1e999", "out of range"},
        {"1234567890123456789012345678901234567890123456789012345678901234", "too many digits"},
        {"\"", "without an end"},
        {"\"abc", "without an end"},
        {"\"\\", "an unknown escape"},
        {"\"\\\"", "without an end"},
        {"\"\\x41\"", "an unknown escape"},
        {"\"\\u12\"", "four hexadecimal"},
        {"\"\\u12G4\"", "four hexadecimal"},
        {"\"\\u", "four hexadecimal"},
        {"\"\\u0000\"", "a NUL"},
        {"\"\\ud800\"", "a surrogate"},
        {"\"\\udc00\"", "a surrogate"},
        {"\"\\ud800\\u0041\"", "a surrogate"},
        {"\"\\ud800\\", "a surrogate"},
        {"\"\\ud800\\ud800\"", "a surrogate"},
        {"\"\n\"", "a control character"},
        {"\"\x01\"", "a control character"},
        {"\"\x80\"", "invalid UTF-8"},
        {"\"\xc0\x80\"", "invalid UTF-8"},
        {"\"\xc1\xbf\"", "invalid UTF-8"},
        {"\"\xc3\"", "invalid UTF-8"},
        {"\"\xe0\x9f\xbf\"", "invalid UTF-8"},
        {"\"\xed\xa0\x80\"", "invalid UTF-8"},
        {"\"\xf0\x8f\xbf\xbf\"", "invalid UTF-8"},
        {"\"\xf4\x90\x80\x80\"", "invalid UTF-8"},
        {"\"\xf5\x80\x80\x80\"", "invalid UTF-8"},
        {"\"\xe2\x82", "invalid UTF-8"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "two entries named \"a\""},
        {"{\"a\":1,\"\\u0061\":2}", "two entries named \"a\""},
        {"[{\"\":1,\"\":2}]", "two entries named \"\""},
        {"\xef\xbb\xbf{}", "expected a value"},
        {"/**/1", "expected a value"},
    };
    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++) {
        refuse(invalid[i].text, strlen(invalid[i].text), invalid[i].fault);
    }
    refuse("1\0", 2, "after the end");
    refuse("\"\0\"", 3, "a control character");
}

static void test_limits(void) {
    char text[4 * MOST_NODES];
    for (size_t depth = JSON_MAX_DEPTH; depth <= JSON_MAX_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        if (depth == JSON_MAX_DEPTH) {
            accept(text);
        } else {
            refuse(text, 2 * depth, "nested too deeply");
        }
    }
    memset(text, '[', sizeof text);
    refuse(text, sizeof text, "nested too deeply");
    for (size_t values = MOST_NODES - 1; values <= MOST_NODES; values++) {
        for (size_t i = 0; i < values; i++) {
            memcpy(text + 2 * i, i == 0 ? "[1" : ",1", 2);
        }
        memcpy(text + 2 * values, "]", 2);
        if (values < MOST_NODES) {
            accept(text);
        } else {
            refuse(text, 2 * values + 1, "more than 1000 values");
        }
    }
}

static void test_reading(void) {
    static const char text[] = "{\"deep\":{\"b\":[1,{\"c\":2}]},\"b\":7,\"minus\":-1,\"half\":0.5,\"word\":\"seven\"}";
    struct json_document document;
    char *copy;
    char error[ERROR_BYTES];
    CHECK(parse(text, sizeof text - 1, &document, &copy, error) == 0, "%s", error);
    uint64_t value = 0;
    CHECK(json_unsigned(json_member(&document, 0, "b"), 7, &value) && value == 7, "b is %u", (unsigned int)value);
    CHECK(!json_unsigned(json_member(&document, 0, "b"), 6, &value), "b is over 6");
    CHECK(!json_unsigned(json_member(&document, 0, "minus"), UINT64_MAX, &value), "-1 is not unsigned");
    CHECK(!json_unsigned(json_member(&document, 0, "half"), UINT64_MAX, &value), "0.5 is no integer");
    CHECK(!json_unsigned(json_member(&document, 0, "word"), UINT64_MAX, &value), "a word is no integer");
    CHECK(json_member(&document, 0, "c") == NULL && json_member(&document, 0, "") == NULL, "members of members");
    CHECK(json_is_string(json_member(&document, 0, "word"), "seven"), "word");
    CHECK(!json_is_string(json_member(&document, 0, "word"), "seve"), "a part of a word");
    json_free(&document);
    free(copy);
}

/* Random texts from JSON's own alphabet, and damaged valid ones. */
static void test_random(void) {
    static const char alphabet[] = "{}[]\",:\\u0123456789abcdefDd-+.eEtrnl \xf0\x9f\x99\x82\xc3\xa9\x01";
    static const char valid[] = "{\"a\\u00e9\":[1,-2.5e3,\"\xf0\x9f\x99\x82\\ud83d\\ude42\"],\"b\":{\"c\":null,\"d\":true}}";
    struct check_random random = {.state = 7};
    size_t accepted = 0;
    for (uint32_t round = 0; round < 60000; round++) {
        char text[sizeof valid + 16];
        size_t length = sizeof valid - 1;
        memcpy(text, valid, length);
        if (round % 2 == 0) {
            length = (size_t)check_below(&random, 24);
            for (size_t i = 0; i < length; i++) {
                text[i] = alphabet[check_below(&random, sizeof alphabet - 1)];
            }
        } else {
            for (uint64_t edits = 1 + check_below(&random, 3); edits > 0; edits--) {
                text[check_below(&random, length)] = alphabet[check_below(&random, sizeof alphabet - 1)];
            }
            length -= round % 5 == 0 ? (size_t)check_below(&random, length) : 0;
        }
        struct json_document document;
        char *copy;
        char error[ERROR_BYTES];
        if (parse(text, length, &document, &copy, error) == 0) {
            accepted++;
            walk(&document, 0, document.count);
        } else {
            CHECK(check_is_line(error, ERROR_BYTES) && strncmp(error, "at byte ", 8) == 0, "%s", error);
        }
        json_free(&document);
        free(copy);
    }
    CHECK(accepted > 1000, "only %zu random texts were accepted", accepted);
}

int main(void) {
    test_values();
    test_faults();
    test_limits();
    test_reading();
    test_random();
    return check_report();
}

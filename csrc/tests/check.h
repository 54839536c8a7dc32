/*
 * check.h: what a C test needs: checks that count, and a report at the end.
 *
 * A test is an executable. Its main calls its cases and returns check_report(), which prints "N passed, N failed" and
 * gives the exit status. A failed check prints its place and the test goes on, so that one run shows every fault. For
 * one thread only.
 */
#ifndef WF_CHECK_H
#define WF_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t checks_passed;
static uint64_t checks_failed;

/* Only the first failures are printed: a wrong kernel fails a million checks. */
#define CHECKS_SHOWN 40U

/* Counts a check; the message after it, printf's format and arguments, is printed when it fails. */
#define CHECK(condition, ...)                                                                                                      \
    do {                                                                                                                           \
        if (condition) {                                                                                                           \
            checks_passed++;                                                                                                       \
        } else if (checks_failed++ < CHECKS_SHOWN) {                                                                               \
            printf("%s:%d: %s: ", __FILE__, __LINE__, #condition);                                                                 \
            printf(__VA_ARGS__);                                                                                                   \
            printf("\n");                                                                                                          \
        }                                                                                                                          \
    } while (0)

/* Whether a sanitizer watches this build for faults of memory, and whether one watches it for races. The latter makes everything some ten
 * times slower and has nothing to say about what has one thread. */
#if defined(__SANITIZE_ADDRESS__)
#define WATCHES_MEMORY true
#else
#define WATCHES_MEMORY false
#endif
#if defined(__SANITIZE_THREAD__)
#define WATCHES_RACES true
#else
#define WATCHES_RACES false
#endif

/* What a test can't go on without, if there was memory for it: ends the test otherwise. */
static inline void *need(void *memory) {
    if (memory == NULL) {
        printf("no memory for a test\n");
        exit(1);
    }
    return memory;
}

/* The state of a pseudo-random sequence: the same on every machine and in every run. */
struct check_random {
    uint64_t state; /* not 0 */
};

/* The next 64 bits (Marsaglia's xorshift64*). */
static inline uint64_t check_next(struct check_random *random) {
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return random->state * 0x2545F4914F6CDD1DU;
}

/* A number from 0 to limit - 1. */
static inline uint64_t check_below(struct check_random *random, uint64_t limit) { return (check_next(random) >> 11) % limit; }

/* Whether text[size] holds one terminated line: not empty, no control characters. */
static inline bool check_is_line(const char *text, size_t size) {
    if (memchr(text, '\0', size) == NULL || text[0] == '\0') {
        return false;
    }
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20U || *at == 0x7F) {
            return false;
        }
    }
    return true;
}

/* Prints the sums and returns the exit status. */
static inline int check_report(void) {
    printf("%llu passed, %llu failed\n", (unsigned long long)checks_passed, (unsigned long long)checks_failed);
    return checks_failed == 0 ? 0 : 1;
}

#endif

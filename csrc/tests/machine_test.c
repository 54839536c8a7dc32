/*
 * machine_test.c: the machine's limits can be measured. How fast it is, is nothing for a test.
 */
#include "check.h"
#include "kernels/dispatch.h"
#include "wrinklefree.h"

#define ERROR_BYTES 256U

static char error[ERROR_BYTES];

static void test_limits(void) {
    uint32_t count;
    const wf_kernels *const *tiers = wf_kernels_supported(&count);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(tiers[i]->multiply_add_peak != NULL, "%s can't be measured", tiers[i]->name);
        if (tiers[i]->multiply_add_peak != NULL) {
            const uint64_t once = tiers[i]->multiply_add_peak(1);
            CHECK(once > 0 && tiers[i]->multiply_add_peak(1000) == 1000 * once, "%s: %llu", tiers[i]->name,
                  (unsigned long long)once);
        }
    }
    const uint32_t wrong[] = {0, 257, UINT32_MAX};
    for (uint32_t kind = WF_MACHINE_READ_BANDWIDTH; kind <= WF_MACHINE_ATTENTION_Q8; kind++) {
        CHECK(wf_machine_measure(kind, NULL, 2, 1, error, ERROR_BYTES) > 0, "%s", error);
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
            CHECK(wf_machine_measure(kind, NULL, wrong[i], 1, error, ERROR_BYTES) == 0 && check_is_line(error, ERROR_BYTES),
                  "%u threads", wrong[i]);
    }
    CHECK(wf_machine_measure(WF_MACHINE_ATTENTION_Q8 + 1, NULL, 1, 1, error, ERROR_BYTES) == 0 && check_is_line(error, ERROR_BYTES),
          "an unknown kind");
    CHECK(wf_machine_measure(WF_MACHINE_TERNARY, "scalar", 1, 1, error, ERROR_BYTES) > 0, "%s", error);
    CHECK(wf_machine_measure(WF_MACHINE_TERNARY, "abacus", 1, 1, error, ERROR_BYTES) == 0 && check_is_line(error, ERROR_BYTES),
          "an unknown tier");
    for (uint32_t tokens = 0; tokens <= 1025; tokens += 1025)
        CHECK(wf_machine_measure(WF_MACHINE_TERNARY, NULL, 1, tokens, error, ERROR_BYTES) == 0 && check_is_line(error, ERROR_BYTES),
              "%u tokens", tokens);
}

int main(void) {
    test_limits();
    return check_report();
}

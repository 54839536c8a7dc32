/*
 * error_test.c: that every message is one terminated line that fits its buffer, whatever strangers put into it.
 */
#include "base/error.h"

#include "check.h"

int main(void) {
    char error[32];
    CHECK(wf_fail(error, sizeof error, "%s has %d", "it", 3) == -1 && strcmp(error, "it has 3") == 0, "%s", error);
    CHECK(wf_fail(NULL, 8, "nothing") == -1 && wf_fail(error, 0, "nothing") == -1, "no room");
    CHECK(strcmp(error, "it has 3") == 0, "a buffer of 0 bytes was written: %s", error);

    /* Control characters: C0, DEL and C1; other characters stay. */
    wf_fail(error, sizeof error, "%s",
            "a\nb\r\tc\x1b[2J\x7f"
            "d\xc2\x9b"
            "e\xc2\xa0\xc3\xa9");
    CHECK(strcmp(error, "a?b??c?[2J?d??e\xc2\xa0\xc3\xa9") == 0, "%s", error);

    /* A cut never splits a character and never writes past the size. */
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82z";
    static const size_t kept[] = {0, 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    for (uint32_t size = 1; size < 14; size++) {
        memset(error, '#', sizeof error);
        wf_fail(error, size, "%s", text);
        CHECK(strlen(error) == kept[size] && memcmp(error, text, kept[size]) == 0, "size %u: %s", size, error);
        CHECK(error[size] == '#', "size %u is overrun", size);
    }
    wf_fail(error, 3, "%s", "a\xc3\xa9");
    CHECK(strcmp(error, "a") == 0, "a message of exactly the buffer's size: %s", error);
    /* What is no UTF-8 is cut anywhere. */
    wf_fail(error, 6, "%s", "\x80\x80\x80\x80\x80\x80\x80\x80");
    CHECK(strlen(error) == 5, "%zu", strlen(error));
    return check_report();
}

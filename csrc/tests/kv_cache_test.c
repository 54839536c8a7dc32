/*
 * kv_cache_test.c: which block is found for which tokens, which one is given when memory is short, and that nothing is found that was
 * computed for others. The index is compared with a plain list that does the same in random order.
 */
#include "check.h"
#include "layers/kv_cache.h"

#define ERROR_BYTES 256U

static const wf_config config = {.layers = 2, .kv_heads = 2, .head_dim = 8};
static struct check_random source = {.state = 0xbb67ae8584caa73bU};

static void create(wf_kv_cache *cache, uint32_t blocks) {
    char error[ERROR_BYTES];
    if (wf_kv_create(cache, &config, WF_KV_F32, blocks, error, sizeof error) != 0) {
        printf("%s\n", error);
        exit(1);
    }
}

/* The tokens of one block: all `token`. */
static const uint32_t *all(uint32_t token) {
    static uint32_t tokens[WF_KV_BLOCK];
    for (uint32_t i = 0; i < WF_KV_BLOCK; i++)
        tokens[i] = token;
    return tokens;
}

static void test_what_is_found(void) {
    wf_kv_cache cache;
    create(&cache, 8);
    const uint32_t first = wf_kv_take(&cache), second = wf_kv_take(&cache), third = wf_kv_take(&cache);
    const uint64_t root = wf_kv_root(0), serial = wf_kv_enter(&cache, root, all(5), first);
    const uint64_t behind = wf_kv_enter(&cache, serial, all(5), second);
    CHECK(wf_kv_find(&cache, root, all(5)) == first && wf_kv_find(&cache, serial, all(5)) == second, "a prefix of two blocks");
    CHECK(wf_kv_find(&cache, behind, all(5)) == WF_NO_BLOCK, "behind the last block");
    CHECK(wf_kv_find(&cache, wf_kv_root(1), all(5)) == WF_NO_BLOCK, "another scope");
    /* What two sequences computed at once is entered once. */
    CHECK(wf_kv_enter(&cache, root, all(5), third) == serial && wf_kv_find(&cache, root, all(5)) == first, "the same once more");
    wf_kv_release(&cache, third);
    CHECK(wf_kv_take(&cache) == third, "a block that stayed out is free");
    wf_kv_destroy(&cache);
}

/* Hashes only say where to look: in a pool of one block everything is looked for in one place. */
static void test_what_is_compared(void) {
    wf_kv_cache cache;
    create(&cache, 1);
    const uint64_t root = wf_kv_root(0);
    wf_kv_enter(&cache, root, all(5), wf_kv_take(&cache));
    CHECK(wf_kv_find(&cache, root, all(5)) == 0, "the same tokens");
    CHECK(wf_kv_find(&cache, wf_kv_root(1), all(5)) == WF_NO_BLOCK, "another scope");
    for (uint32_t i = 0; i < WF_KV_BLOCK; i++) {
        uint32_t other[WF_KV_BLOCK];
        memcpy(other, all(5), sizeof other);
        other[i] = 6;
        CHECK(wf_kv_find(&cache, root, other) == WF_NO_BLOCK, "another token at %u", i);
    }
    wf_kv_destroy(&cache);
}

static void test_what_is_given(void) {
    enum { BLOCKS = 4 };
    wf_kv_cache cache;
    create(&cache, BLOCKS);
    const uint64_t root = wf_kv_root(3);
    uint64_t serials[BLOCKS];
    for (uint32_t i = 0; i < BLOCKS; i++) {
        CHECK(wf_kv_available(&cache) == BLOCKS - i && wf_kv_take(&cache) == i, "low numbers first");
        serials[i] = wf_kv_enter(&cache, root, all(i), i);
    }
    CHECK(wf_kv_available(&cache) == 0 && wf_kv_take(&cache) == WF_NO_BLOCK, "all are in use");
    /* A child of block 2, in the place of block 3. */
    wf_kv_release(&cache, 3);
    CHECK(wf_kv_find(&cache, root, all(3)) == 3, "a block that nobody uses is still found");
    CHECK(wf_kv_take(&cache) == 3 && wf_kv_find(&cache, root, all(3)) == WF_NO_BLOCK, "until its memory is needed");
    wf_kv_enter(&cache, serials[2], all(9), 3);
    /* Released: 1, 0, 2, and 1 is in use again meanwhile. */
    wf_kv_release(&cache, 1);
    wf_kv_release(&cache, 0);
    wf_kv_share(&cache, 1);
    wf_kv_release(&cache, 2);
    wf_kv_release(&cache, 1);
    CHECK(wf_kv_available(&cache) == 3, "%u can be had", wf_kv_available(&cache));
    const uint32_t given[] = {0, 2, 1};
    for (uint32_t i = 0; i < 3; i++)
        CHECK(wf_kv_take(&cache) == given[i], "the one unused for longest is given first, place %u", i);
    /* Block 2 is entered with the same tokens anew: what stood behind the old one doesn't stand behind this. */
    const uint64_t again = wf_kv_enter(&cache, root, all(2), 2);
    CHECK(again > serials[3] && wf_kv_find(&cache, again, all(9)) == WF_NO_BLOCK, "a serial is used once");
    CHECK(wf_kv_find(&cache, serials[2], all(9)) == 3, "the child is there, for nobody");
    /* Two references: the first release leaves it in use. */
    wf_kv_share(&cache, 2);
    wf_kv_release(&cache, 2);
    CHECK(wf_kv_take(&cache) == WF_NO_BLOCK, "a block that somebody uses isn't given away");
    wf_kv_release(&cache, 2);
    CHECK(wf_kv_take(&cache) == 2, "one that nobody uses is");
    wf_kv_destroy(&cache);
}

/* ---- The same by a plain list ---- */

#define BLOCKS_MAX 12U

struct plain {
    uint32_t references;
    uint64_t serial, parent, released; /* serial 0: not entered; when it was last released */
    uint32_t token;
};

static uint32_t plain_find(const struct plain *blocks, uint32_t count, uint64_t parent, uint32_t token) {
    for (uint32_t i = 0; i < count; i++)
        if (blocks[i].serial != 0 && blocks[i].parent == parent && blocks[i].token == token)
            return i;
    return WF_NO_BLOCK;
}

/* What taking `block` means, if it may be taken. */
static bool plain_take(struct plain *blocks, uint32_t count, uint32_t block) {
    bool has_free = false, has_unused = false;
    uint64_t longest = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (blocks[i].references > 0)
            continue;
        has_free |= blocks[i].serial == 0;
        has_unused = true;
        if (blocks[i].serial != 0 && blocks[i].released < longest)
            longest = blocks[i].released;
    }
    if (block == WF_NO_BLOCK)
        return !has_unused;
    if (block >= count || blocks[block].references > 0 ||
        (blocks[block].serial != 0 && (has_free || blocks[block].released != longest)))
        return false;
    blocks[block] = (struct plain){.references = 1};
    return true;
}

static void test_random_use(uint32_t count) {
    wf_kv_cache cache;
    create(&cache, count);
    struct plain blocks[BLOCKS_MAX] = {{0}};
    uint64_t parents[8] = {wf_kv_root(0), wf_kv_root(7)}; /* the roots of two scopes, and serials that were had */
    uint32_t wrong = 0;
    for (uint64_t step = 1; step < 20000 && wrong == 0; step++) {
        const uint32_t block = (uint32_t)check_below(&source, count), token = (uint32_t)check_below(&source, 3);
        const uint64_t parent = parents[check_below(&source, 8)];
        uint32_t taken;
        switch (check_below(&source, 5)) {
        case 0:
            taken = wf_kv_take(&cache);
            wrong += !plain_take(blocks, count, taken);
            break;
        case 1: /* only what is found may be shared */
            if (blocks[block].references > 0 || blocks[block].serial != 0) {
                wf_kv_share(&cache, block);
                blocks[block].references++;
            }
            break;
        case 2:
            if (blocks[block].references > 0) {
                wf_kv_release(&cache, block);
                blocks[block].references--;
                blocks[block].released = step;
            }
            break;
        case 3:
            if (blocks[block].references > 0 && blocks[block].serial == 0) {
                const uint32_t same = plain_find(blocks, count, parent, token);
                const uint64_t serial = wf_kv_enter(&cache, parent, all(token), block);
                if (same != WF_NO_BLOCK) {
                    wrong += serial != blocks[same].serial;
                } else {
                    blocks[block].serial = serial;
                    blocks[block].parent = parent;
                    blocks[block].token = token;
                }
                parents[2 + check_below(&source, 6)] = serial;
            }
            break;
        default:
            wrong += wf_kv_find(&cache, parent, all(token)) != plain_find(blocks, count, parent, token);
        }
        uint32_t available = 0;
        for (uint32_t i = 0; i < count; i++)
            available += blocks[i].references == 0;
        wrong += wf_kv_available(&cache) != available;
    }
    CHECK(wrong == 0, "%u blocks: otherwise than the list", count);
    wf_kv_destroy(&cache);
}

int main(void) {
    test_what_is_found();
    test_what_is_compared();
    test_what_is_given();
    for (uint32_t count = 1; count <= BLOCKS_MAX; count++)
        test_random_use(count);
    return check_report();
}

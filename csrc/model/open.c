/*
 * open.c: opens a model from a file, from memory or from a random source.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/pages.h"
#include "model/bind.h"
#include "model/config.h"
#include "model/container.h"
#include "model/mapping.h"
#include "model/model.h"
#include "model/random_weights.h"

/* Makes a model of a mapping, which it takes over also when it fails. `random` as wf_bind has it. */
static wf_model *open_mapping(wf_mapping *mapping, const char *name, wf_random_weights *random, char *error, uint32_t error_size) {
    struct wf_model *model = calloc(1, sizeof *model);
    char *copy = strdup(name);
    if (model == NULL || copy == NULL) {
        free(model);
        free(copy);
        wf_mapping_close(mapping);
        wf_fail(error, error_size, "%s: no memory left to open it", name);
        return NULL;
    }
    model->mapping = *mapping;
    model->name = copy;
    atomic_init(&model->references, 1);
    wf_container container = {.name = copy, .mapping = &model->mapping, .error = error, .error_size = error_size};
    const bool opened = wf_container_read_header(&container) == 0 && wf_config_read(&container, &model->config) == 0 &&
                        wf_container_read_tensors(&container) == 0 && wf_bind(&container, random, model) == 0;
    wf_container_close(&container);
    if (opened)
        return model;
    wf_model_close(model);
    return NULL;
}

static uint64_t memory_bytes(void) { return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE); }

wf_model *wf_model_open(const char *path, char *error, uint32_t error_size) {
    wf_reading reading = {0};
    return wf_model_open_watched(path, 0, &reading, error, error_size);
}

wf_model *wf_model_open_watched(const char *path, uint64_t memory, wf_reading *reading, char *error, uint32_t error_size) {
    if (path == NULL) {
        wf_fail(error, error_size, "no path of a packed model was given");
        return NULL;
    }
    wf_mapping mapping;
    if (wf_mapping_of_file(&mapping, path, error, error_size) != 0)
        return NULL;
    wf_model *model = open_mapping(&mapping, path, NULL, error, error_size);
    /* What every token needs, all but embedding and head, is brought in now, so that no request pays for it. Of a file that memory does not
     * hold, the system keeps what is used: of a mixture the experts that are asked for. */
    if (model != NULL && model->mapping.size < (memory > 0 ? memory : memory_bytes()) / 4 * 3)
        wf_mapping_prefault(&model->mapping, model->layers[0].input_norm, reading);
    return model;
}

wf_model *wf_model_open_bytes(const uint8_t *bytes, uint64_t size, const char *name, char *error, uint32_t error_size) {
    if (bytes == NULL || size == 0 || name == NULL) {
        wf_fail(error, error_size, "%s: is no packed model: it is empty", name == NULL ? "a model in memory" : name);
        return NULL;
    }
    wf_mapping mapping;
    if (wf_mapping_of_zeros(&mapping, size, name, error, error_size) != 0)
        return NULL;
    memcpy(mapping.bytes, bytes, (size_t)size);
    if (!wf_mapping_protect(&mapping)) {
        wf_fail(error, error_size, "%s: its copy can't be protected: %s", name, strerror(errno));
        wf_mapping_close(&mapping);
        return NULL;
    }
    return open_mapping(&mapping, name, NULL, error, error_size);
}

wf_model *wf_model_open_random(const uint8_t *header, uint64_t header_size, uint64_t size, double zeros, const char *name,
                               char *error, uint32_t error_size) {
    if (header == NULL || name == NULL || header_size > size) {
        wf_fail(error, error_size, "%s: is no packed model's header", name == NULL ? "a model in memory" : name);
        return NULL;
    }
    if (!(zeros >= 0 && zeros <= 1)) {
        wf_fail(error, error_size, "%s: its share of zeros is %g; 0 to 1 can be had", name, zeros);
        return NULL;
    }
    /* Systems promise more memory than there is, and end the program that takes them at their word. */
    const uint64_t memory = memory_bytes();
    if (size > memory) {
        wf_fail(error, error_size, "%s: its %" PRIu64 " MB do not fit into this machine's memory of %" PRIu64 " MB", name,
                size / 1000000U, memory / 1000000U);
        return NULL;
    }
    wf_mapping mapping;
    if (wf_mapping_of_zeros(&mapping, size, name, error, error_size) != 0)
        return NULL;
    wf_advise_huge_pages(mapping.bytes, (size_t)size);
    memcpy(mapping.bytes, header, (size_t)header_size);
    wf_random_weights *random = wf_random_create(zeros);
    if (random == NULL) {
        wf_mapping_close(&mapping);
        wf_fail(error, error_size, "%s: no memory left to make its weights", name);
        return NULL;
    }
    wf_model *model = open_mapping(&mapping, name, random, error, error_size);
    wf_random_destroy(random);
    if (model == NULL || wf_mapping_protect(&model->mapping))
        return model;
    wf_fail(error, error_size, "%s: its weights can't be protected: %s", name, strerror(errno));
    wf_model_close(model);
    return NULL;
}

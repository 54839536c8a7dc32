/*
 * model.c: how models are shared and closed.
 */
#include "model/model.h"

#include <stdlib.h>

wf_model *wf_model_retain(const wf_model *model) {
    wf_model *retained = (wf_model *)(uintptr_t)model;
    atomic_fetch_add(&retained->references, 1);
    return retained;
}

void wf_model_close(wf_model *model) {
    if (model == NULL || atomic_fetch_sub(&model->references, 1) > 1)
        return;
    wf_mapping_close(&model->mapping);
    free(model->layers);
    free(model->experts);
    free(model->name);
    free(model);
}

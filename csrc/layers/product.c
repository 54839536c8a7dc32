/*
 * product.c: slices of weight rows as units of work.
 */
#include "layers/product.h"

/* A matrix goes into as many slices for each thread as evens out their speeds. */
#define SLICES_PER_THREAD 8U

uint32_t wf_slice_rows(const wf_linear *linear, const wf_kernels *kernels, uint32_t parts) {
    /* Both are powers of two. */
    const uint32_t least = wf_linear_rows_together(linear),
                   together = kernels->rows_together > least ? kernels->rows_together : least;
    const uint32_t limit = WF_SLICE_BYTES_MAX / linear->row_bytes;
    const uint32_t slice = linear->outputs / parts;
    return ((slice < limit ? slice : limit) / together + 1) * together;
}

uint32_t wf_products_plan(wf_products *products, uint32_t threads) {
    const wf_quantised *inputs = products->inputs;
    uint32_t units = 0;
    for (uint32_t i = 0; i < products->count; i++) {
        wf_product *product = &products->products[i];
        float *factors = inputs->factors + (size_t)i * inputs->count;
        if (product->linear->input_kind == WF_INPUT_INT8)
            wf_linear_factors(product->linear, inputs->inverse_scales, inputs->count, factors);
        product->factors = factors;
        product->slice = wf_slice_rows(product->linear, inputs->kernels, threads * SLICES_PER_THREAD);
        product->slices = (product->linear->outputs + product->slice - 1) / product->slice;
        units += product->slices;
    }
    return units;
}

void wf_products_multiply(const wf_products *products, uint32_t unit) {
    const wf_quantised *inputs = products->inputs;
    const wf_product *product = products->products;
    while (unit >= product->slices)
        unit -= product++->slices;
    const wf_linear *linear = product->linear;
    const uint32_t first = unit * product->slice;
    const uint32_t rows = linear->outputs - first < product->slice ? linear->outputs - first : product->slice;
    wf_quantised_view view;
    const wf_inputs x = wf_quantised_inputs(inputs, 0, inputs->count, linear->inputs, product->factors, &view);
    linear->multiply(linear, inputs->kernels, first, rows, &x, product->out + first, linear->outputs);
    if (product->residual == NULL)
        return;
    for (uint32_t row = 0; row < inputs->count; row++) {
        const size_t offset = (size_t)row * linear->outputs + first;
        for (uint32_t i = 0; i < rows; i++)
            product->residual[offset + i] += product->out[offset + i] * products->residual_scale;
    }
}

static void multiply_slice(void *context, uint32_t unit) { wf_products_multiply(context, unit); }

void wf_products_run(wf_pool *pool, wf_products *products) {
    const uint32_t units = wf_products_plan(products, wf_pool_threads(pool));
    wf_pool_run(pool, multiply_slice, products, units);
}

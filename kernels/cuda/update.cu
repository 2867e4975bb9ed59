// The solver's arithmetic over flat arrays. Rate, scale and whether to update at all are read from the device, so
// that a captured step stays true and the host need not wait for the norm.

#include "common.cuh"

// Each block leaves the sum of squares of its chunk. dw: (size)  parts: (chunks) double
extern "C" __global__ void __launch_bounds__(256)
clip_gradients_sums(const float* dw, unsigned char* parts, long long size, long long chunk) {
    __shared__ double shared[8];
    const int64 begin = blockIdx.x * chunk, end = min(begin + chunk, size);
    double sum = 0;
    for (int64 i = begin + threadIdx.x; i < end; i += 256) sum += (double)dw[i] * dw[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) ((double*)parts)[blockIdx.x] = sum;
}

// One block: scalars[SCALE] = scale * min(1, threshold / norm), scalars[NONFINITE] = whether the norm is no number: the
// squares of finite floats cannot pass what a double holds. parts: (chunks) double  scalars: (3)
extern "C" __global__ void __launch_bounds__(256)
clip_gradients(const unsigned char* parts, float* scalars, float threshold, float scale, int chunks) {
    __shared__ double shared[8];
    const double norm = sqrt(parts_sum((const double*)parts, chunks, shared));
    if (threadIdx.x == 0) {
        scalars[1] = (float)(scale * (norm > threshold ? threshold / norm : 1.0));
        scalars[2] = isfinite(norm) ? 0.0f : 1.0f;
    }
}

// A thread owns elements of one segment, `count` from `start`; l1 and l2 are the segment's own.
// w, dw, history: (all parameters)  scalars: (3)
extern "C" __global__ void __launch_bounds__(256)
sgd_update(float* w, const float* dw, float* history, const float* scalars, long long start, long long count,
           float lr_mult, float momentum, float l1, float l2) {
    if (scalars[2] != 0) return;
    const float rate = scalars[0] * lr_mult, scale = scalars[1];
#pragma unroll 1
    for (int64 i = start + first_element(); i < start + count; i += element_step()) {
        const float value = w[i], sign = (float)((value > 0) - (value < 0));
        const float gradient = scale * dw[i] + l2 * value + l1 * sign;
        const float step = momentum * history[i] + rate * gradient;
        history[i] = step;
        w[i] = value - step;
    }
}

// Local response normalisation. A thread owns an element and reads those around it, across channels or
// within its plane; sums run in the order of the channels, or of rows and columns.

#include "common.cuh"

// base ** -beta; 0.75 is what every published net has, and two roots are far faster than powf.
__device__ __forceinline__ float power(float base, float beta) {
    if (beta == 0.75f) {
        const float root = sqrtf(base);
        return 1.0f / (root * sqrtf(root));
    }
    return powf(base, -beta);
}

// Sum of value(place) over the `half` channels to either side of the element at `place`, and itself.
template <class F>
__device__ __forceinline__ float across(const Form& form, int64 place, int half, F value) {
    const int channel = form.channel(place);
    const int64 step = form.channel_step();
    const int first = max(channel - half, 0), last = min(channel + half, form.c - 1);
    float sum = 0;
    for (int other = first; other <= last; other++) sum += value(place + (other - channel) * step);
    return sum;
}

// Sum of value(place) over the cells at most `half` rows and columns away, in a plane of h x w.
template <class F>
__device__ __forceinline__ float around(const Form& form, int64 place, int h, int w, int half, F value) {
    const int cell = (int)((form.last ? place / form.c : place) % form.inner);
    const int row = cell / w, column = cell % w;
    const int64 step = form.last ? form.c : 1;
    const int top = max(row - half, 0), bottom = min(row + half, h - 1);
    const int left = max(column - half, 0), right = min(column + half, w - 1);
    float sum = 0;
    for (int u = top; u <= bottom; u++) {
#pragma unroll 1
        for (int v = left; v <= right; v++) sum += value(place + (u * w + v - cell) * step);
    }
    return sum;
}

// all: (n,c,h,w), inner = h w; factor = alpha / size
extern "C" __global__ void __launch_bounds__(256)
lrn_across_forward(const float* x, float* y, float* scale, int half, float factor, float beta, float k, int c,
                   int inner, int last, long long size) {
    const Form form{c, inner, last != 0};
#pragma unroll 1
    for (int64 i = first_element(); i < size; i += element_step()) {
        const float sum = across(form, i, half, [=](int64 at) { return x[at] * x[at]; });
        const float base = k + factor * sum;
        scale[i] = base;
        y[i] = x[i] * power(base, beta);
    }
}

// all: (n,c,h,w), inner = h w; factor = 2 alpha beta / size
extern "C" __global__ void __launch_bounds__(256)
lrn_across_backward(const float* x, const float* y, const float* scale, const float* dy, float* dx, int half,
                    float factor, float beta, int c, int inner, int last, long long size) {
    const Form form{c, inner, last != 0};
#pragma unroll 1
    for (int64 i = first_element(); i < size; i += element_step()) {
        const float sum = across(form, i, half, [=](int64 at) { return dy[at] * y[at] / scale[at]; });
        dx[i] = dy[i] * power(scale[i], beta) - factor * x[i] * sum;
    }
}

// all: (n,c,h,w); factor = alpha / size**2
extern "C" __global__ void __launch_bounds__(256)
lrn_within_forward(const float* x, float* y, float* scale, int half, float factor, float beta, int c, int h,
                   int w, int last, long long size) {
    const Form form{c, h * w, last != 0};
#pragma unroll 1
    for (int64 i = first_element(); i < size; i += element_step()) {
        const float sum = around(form, i, h, w, half, [=](int64 at) { return x[at] * x[at]; });
        const float base = 1.0f + factor * sum;
        scale[i] = base;
        y[i] = x[i] * power(base, beta);
    }
}

// all: (n,c,h,w); factor = 2 alpha beta / size**2
extern "C" __global__ void __launch_bounds__(256)
lrn_within_backward(const float* x, const float* y, const float* scale, const float* dy, float* dx, int half,
                    float factor, float beta, int c, int h, int w, int last, long long size) {
    const Form form{c, h * w, last != 0};
#pragma unroll 1
    for (int64 i = first_element(); i < size; i += element_step()) {
        const float sum = around(form, i, h, w, half, [=](int64 at) { return dy[at] * y[at] / scale[at]; });
        dx[i] = dy[i] * power(scale[i], beta) - factor * x[i] * sum;
    }
}

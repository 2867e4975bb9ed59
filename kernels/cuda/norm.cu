// Batch normalisation and scale, by channel of (n,c,inner).
//
// Sums by channel go in two steps: blocks leave the sums of chunks of the positions (n, inner), and whoever
// needs a channel's sum adds its chunks in their order. A launch is for `channels` channels from number
// `from` on, as many as have room for their partial sums. Memory between the kernels of a function, all
// double: parts (2, chunks, channels) and coefficients (3, channels).

#include "common.cuh"

// One block = a chunk of the positions of 32 channels that lie side by side, a warp for every eighth
// position, or, channels first, of 8 channels, a warp each. grid (channels / 32 or 8, chunks)
// add(sums, place) adds the share of an element to the N sums of its channel.
// parts: (N, chunks, channels)  shared: 256 numbers
template <int N, class F>
__device__ __forceinline__ void sum_channels(double* parts, double* shared, const Form& form,
                                             int64 positions, int from, int channels, F add) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int own = form.last ? blockIdx.x * 32 + lane : blockIdx.x * 8 + warp;
    const int64 chunk = (positions + gridDim.y - 1) / gridDim.y;
    const int64 begin = blockIdx.y * chunk, end = min(begin + chunk, positions);
    double sums[N];
    for (int k = 0; k < N; k++) sums[k] = 0;
    if (own < channels) {
        const int step = form.last ? 8 : 32;
        for (int64 position = begin + (form.last ? warp : lane); position < end; position += step) {
            add(sums, form.place(position, from + own));
        }
    }
    for (int k = 0; k < N; k++) {
        double sum = sums[k];
        if (form.last) {
            shared[threadIdx.x] = sum;
            __syncthreads();
            for (int other = 1; warp == 0 && other < 8; other++) sum += shared[other * 32 + lane];
            __syncthreads();
        } else {
            for (int distance = 16; distance; distance /= 2) {
                sum += __shfl_down_sync(0xffffffffu, sum, distance);
            }
        }
        const bool mine = form.last ? warp == 0 : lane == 0;
        if (mine && own < channels) parts[((int64)k * gridDim.y + blockIdx.y) * channels + own] = sum;
    }
}

// Sum k of a channel. parts: (2, chunks, channels)
__device__ __forceinline__ double whole_sum(const double* parts, int k, int chunks, int channels, int own) {
    double sum = 0;
    for (int chunk = 0; chunk < chunks; chunk++) sum += parts[((int64)k * chunks + chunk) * channels + own];
    return sum;
}

// Calls f(place, own) for this thread's elements of the launch's channels.
template <class F>
__device__ __forceinline__ void each_element(const Form& form, int64 positions, int from, int channels, F f) {
#pragma unroll 1
    for (int64 i = first_element(); i < positions * channels; i += element_step()) {
        if (form.last) {
            const int64 position = i / channels;
            const int own = (int)(i - position * channels);
            f(position * form.c + from + own, own);
        } else {
            const int64 row = i / form.inner, image = row / channels;
            const int own = (int)(row - image * channels);
            f(form.at(image, from + own, i - row * form.inner), own);
        }
    }
}

// ---- batch normalisation

// Sums of x. x: (n,c,inner)  parts: (2,chunks,channels), the first half
extern "C" __global__ void __launch_bounds__(256)
batch_norm_sums(const float* x, unsigned char* parts, long long positions, int c, int inner, int last,
                int from, int channels) {
    __shared__ double shared[256];
    sum_channels<1>((double*)parts, shared, Form{c, inner, last != 0}, positions, from, channels,
                    [=](double* sums, int64 place) { sums[0] += x[place]; });
}

// Sums of (x - mean)**2; the mean comes from the first half of parts. 
// x: (n,c,inner)  parts: (2,chunks,channels)
extern "C" __global__ void __launch_bounds__(256)
batch_norm_squares(const float* x, unsigned char* parts, long long positions, int c, int inner, int last,
                   int from, int channels) {
    __shared__ double shared[256];
    const Form form{c, inner, last != 0};
    double* sums = (double*)parts;
    const int own = last ? blockIdx.x * 32 + threadIdx.x % 32 : blockIdx.x * 8 + threadIdx.x / 32;
    const double mean = own < channels ? whole_sum(sums, 0, gridDim.y, channels, own) / positions : 0;
    sum_channels<1>(sums + (int64)gridDim.y * channels, shared, form, positions, from, channels,
                    [=](double* sums, int64 place) { sums[0] += (x[place] - mean) * (x[place] - mean); });
}

// What a channel's x is multiplied by and what is added: (x - mean) / std. coefficients: (3,channels)
__device__ __forceinline__ void set_affine(double* coefficients, int channels, int own, double mean,
                                           double std) {
    coefficients[own] = 1 / std;
    coefficients[channels + own] = -mean / std;
}

// A thread owns a channel: both moments, the running sums, and what y is made with.
// parts: (2,chunks,channels)  coefficients: (3,channels)
// batch_mean, batch_std, mean, variance: (c)  scale_factor: (1)
extern "C" __global__ void __launch_bounds__(256)
batch_norm_train_coefficients(const unsigned char* parts, float* batch_mean, float* batch_std, float* mean,
                              float* variance, float* scale_factor, unsigned char* coefficients,
                              long long positions, int from, int channels, int chunks, float fraction,
                              float eps) {
    const double* sums = (const double*)parts;
    if (from == 0 && first_element() == 0) scale_factor[0] = fraction * scale_factor[0] + 1;
#pragma unroll 1
    for (int64 i = first_element(); i < channels; i += element_step()) {
        const int own = (int)i, channel = from + own;
        const double batch = whole_sum(sums, 0, chunks, channels, own) / positions;
        const double spread = whole_sum(sums, 1, chunks, channels, own) / positions;
        const double std = sqrt(spread + eps), free = positions > 1 ? (double)(positions - 1) : 1.0;
        mean[channel] = (float)(fraction * mean[channel] + batch);
        variance[channel] = (float)(fraction * variance[channel] + positions / free * spread);
        batch_mean[channel] = (float)batch;
        batch_std[channel] = (float)std;
        set_affine((double*)coefficients, channels, own, batch, std);
    }
}

// A thread owns a channel.
// mean, variance, batch_mean, batch_std: (c)  scale_factor: (1)  coefficients: (3,channels)
extern "C" __global__ void __launch_bounds__(256)
batch_norm_test_coefficients(const float* mean, const float* variance, const float* scale_factor,
                             float* batch_mean, float* batch_std, unsigned char* coefficients, int from,
                             int channels, float eps) {
    const double factor = scale_factor[0], share = factor != 0 ? 1 / factor : 0;
#pragma unroll 1
    for (int64 i = first_element(); i < channels; i += element_step()) {
        const int own = (int)i, channel = from + own;
        const double running = mean[channel] * share, std = sqrt(variance[channel] * share + eps);
        batch_mean[channel] = (float)running;
        batch_std[channel] = (float)std;
        set_affine((double*)coefficients, channels, own, running, std);
    }
}

// In double, as a mean far larger than the deviation asks for. x, y: (n,c,inner)  coefficients: (3,channels)
extern "C" __global__ void __launch_bounds__(256)
batch_norm_forward(const float* x, const unsigned char* coefficients, float* y, long long positions, int c,
                   int inner, int last, int from, int channels) {
    const double* of = (const double*)coefficients;
    each_element(Form{c, inner, last != 0}, positions, from, channels, [=](int64 place, int own) {
        y[place] = (float)(of[own] * x[place] + of[channels + own]);
    });
}

// Sums of dy and of dy y. y, dy: (n,c,inner)  parts: (2,chunks,channels)
extern "C" __global__ void __launch_bounds__(256)
batch_norm_backward_sums(const float* y, const float* dy, unsigned char* parts, long long positions, int c,
                         int inner, int last, int from, int channels) {
    __shared__ double shared[256];
    sum_channels<2>((double*)parts, shared, Form{c, inner, last != 0}, positions, from, channels,
                    [=](double* sums, int64 place) {
                        sums[0] += dy[place];
                        sums[1] += (double)dy[place] * y[place];
                    });
}

// A thread owns a channel: mean of dy, mean of dy y, 1 / std.
// parts: (2,chunks,channels)  batch_std: (c)  coefficients: (3,channels)
extern "C" __global__ void __launch_bounds__(256)
batch_norm_backward_coefficients(const unsigned char* parts, const float* batch_std,
                                 unsigned char* coefficients, long long positions, int from, int channels,
                                 int chunks) {
    const double* sums = (const double*)parts;
    double* to = (double*)coefficients;
#pragma unroll 1
    for (int64 i = first_element(); i < channels; i += element_step()) {
        const int own = (int)i;
        to[own] = whole_sum(sums, 0, chunks, channels, own) / positions;
        to[channels + own] = whole_sum(sums, 1, chunks, channels, own) / positions;
        to[2 * channels + own] = 1.0 / batch_std[from + own];
    }
}

// dx = (dy - mean(dy) - y mean(dy y)) / std. y, dy, dx: (n,c,inner)  coefficients: (3,channels)
extern "C" __global__ void __launch_bounds__(256)
batch_norm_train_backward(const float* y, const unsigned char* coefficients, const float* dy, float* dx,
                          long long positions, int c, int inner, int last, int from, int channels) {
    const double* of = (const double*)coefficients;
    each_element(Form{c, inner, last != 0}, positions, from, channels, [=](int64 place, int own) {
        dx[place] = (float)((dy[place] - of[own] - of[channels + own] * y[place]) * of[2 * channels + own]);
    });
}

// batch_std: (c)  dy, dx: (n,c,inner)
extern "C" __global__ void __launch_bounds__(256)
batch_norm_test_backward(const float* batch_std, const float* dy, float* dx, int c, int inner, int last,
                         long long size) {
    const Form form{c, inner, last != 0};
    assign(dx, size, [=](int64 i) { return dy[i] / batch_std[form.channel(i)]; });
}

// ---- scale

// x, y: (n,c,inner)  g, b: (c)
extern "C" __global__ void __launch_bounds__(256)
scale_forward(const float* x, const float* g, OPTIONAL const float* b, float* y, int c, int inner, int last,
              long long size) {
    const Form form{c, inner, last != 0};
    assign(y, size, [=](int64 i) {
        const int channel = form.channel(i);
        return fmaf(g[channel], x[i], b ? b[channel] : 0.0f);
    });
}

// g: (c)  dy, dx: (n,c,inner)
extern "C" __global__ void __launch_bounds__(256)
scale_backward_data(const float* g, const float* dy, float* dx, int c, int inner, int last, long long size) {
    const Form form{c, inner, last != 0};
    assign(dx, size, [=](int64 i) { return g[form.channel(i)] * dy[i]; });
}

// Sums of dy x and of dy. x, dy: (n,c,inner)  parts: (2,chunks,channels)
extern "C" __global__ void __launch_bounds__(256)
scale_backward_weights_sums(const float* x, const float* dy, unsigned char* parts, long long positions, int c,
                            int inner, int last, int from, int channels) {
    __shared__ double shared[256];
    sum_channels<2>((double*)parts, shared, Form{c, inner, last != 0}, positions, from, channels,
                    [=](double* sums, int64 place) {
                        sums[0] += (double)dy[place] * x[place];
                        sums[1] += dy[place];
                    });
}

// A thread owns a channel. parts: (2,chunks,channels)  dg, db: (c)
extern "C" __global__ void __launch_bounds__(256)
scale_backward_weights(const unsigned char* parts, OPTIONAL float* dg, OPTIONAL float* db, int from,
                       int channels, int chunks) {
    const double* sums = (const double*)parts;
#pragma unroll 1
    for (int64 i = first_element(); i < channels; i += element_step()) {
        const int own = (int)i;
        if (dg) dg[from + own] += (float)whole_sum(sums, 0, chunks, channels, own);
        if (db) db[from + own] += (float)whole_sum(sums, 1, chunks, channels, own);
    }
}

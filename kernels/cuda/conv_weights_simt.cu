// The gradient of a convolution's weights in exact fp32: a matrix product over pixels, split into runs of
// pixels whose sums are added in their order. Also the gradients that pass through bias, ReLU and 2x2 max.
//
// Channels lie last: x (n, h, w, groups cg)  dy (n, p, q, groups kg).
#include "common.cuh"
#include "tile.cuh"
#include "conv.cuh"

// One block = TM (r, s, c) x TN channels of dy, over one run of pixels.  grid (r s cg / TM, kg / TN, groups runs)
// Both factors lie as the product wants them, so nothing is turned on the way to shared memory.
template <int TM, int TN, bool VECTOR>
__device__ void conv_weights(const Geometry& g, const float* x, const float* dy, float* sums, int n, int groups,
                             int64 run) {
    using Product = Tile<TM, TN>;
    constexpr int TK = Product::TK;
    __shared__ typename Product::Factors buffer[2];
    const int group = blockIdx.z % groups, part = blockIdx.z / groups, tid = threadIdx.x;
    const int depth = g.r * g.s * g.cg, m0 = blockIdx.x * TM, k0 = blockIdx.y * TN;
    const int a_row = tid / (TM / 4), a_at = tid % (TM / 4) * 4;
    const int b_row = tid / (TN / 4), b_at = tid % (TN / 4) * 4;
    const bool b_mine = tid < Product::B_THREADS;
    const int64 pixels = (int64)n * g.p * g.q, first = part * run, last = min(pixels, first + run);
    const Tap tap(g, m0 + a_at);
    x += group * g.cg;
    dy += (int64)group * g.kg + k0 + b_at;
    float4 a_next, b_next = make_float4(0.f, 0.f, 0.f, 0.f);

    auto load = [&](int64 pixel) {
        const int64 a_pixel = pixel + a_row, b_pixel = pixel + b_row;
        a_next = gather<VECTOR>(g, x, Pixel(g, a_pixel, false), a_pixel < last, tap);
        if (b_mine) b_next = fetch<VECTOR>(dy + b_pixel * g.k, b_pixel < last ? g.kg - k0 - b_at : 0);
    };
    auto store = [&](typename Product::Factors& to) {
        *(float4*)&to.a[a_row][a_at] = a_next;
        if (b_mine) *(float4*)&to.b[b_row][b_at] = b_next;
    };

    Product product;
    product.clear();
    load(first);
    store(buffer[0]);
    __syncthreads();
    for (int64 pixel = first, now = 0; pixel < last; pixel += TK, now ^= 1) {
        const bool more = pixel + TK < last;
        if (more) load(pixel + TK);
        product.multiply(buffer[now]);
        if (more) {
            store(buffer[now ^ 1]);
            __syncthreads();
        }
    }

    sums += ((int64)part * groups + group) * depth * g.kg;
#pragma unroll
    for (int j = 0; j < Product::COLUMNS; j += 4) {
        const int column = k0 + Product::column(j);
#pragma unroll
        for (int i = 0; i < Product::ROWS; i++) {
            const int row = m0 + Product::row() + i;
            const float* sum = &product.sum[i][j];
            if (row < depth) {
                put<VECTOR>(sums + (int64)row * g.kg + column, g.kg - column,
                            make_float4(sum[0], sum[1], sum[2], sum[3]));
            }
        }
    }
}

// x (n, h, w, c)  dy (n, p, q, k)  sums (runs, groups, r s cg, kg); run: pixels of one part of the sum.
extern "C" __global__ void __launch_bounds__(256)
conv_weights_128x128(const float* x, const float* dy, float* sums, int n, int groups, long long run, int h, int w,
                     int c, int cg, int p, int q, int k, int kg, int r, int s, int stride_h, int stride_w,
                     int pad_h, int pad_w, int dilation_h, int dilation_w, int zoom_h, int zoom_w) {
    conv_weights<128, 128, true>(GEOMETRY, x, dy, sums, n, groups, run);
}

// The same for few weights.
extern "C" __global__ void __launch_bounds__(256)
conv_weights_64x64(const float* x, const float* dy, float* sums, int n, int groups, long long run, int h, int w,
                   int c, int cg, int p, int q, int k, int kg, int r, int s, int stride_h, int stride_w, int pad_h,
                   int pad_w, int dilation_h, int dilation_w, int zoom_h, int zoom_w) {
    conv_weights<64, 64, true>(GEOMETRY, x, dy, sums, n, groups, run);
}

// The same for any number of channels: numbers are read one by one.
extern "C" __global__ void __launch_bounds__(256)
conv_weights_64x64_any(const float* x, const float* dy, float* sums, int n, int groups, long long run, int h,
                       int w, int c, int cg, int p, int q, int k, int kg, int r, int s, int stride_h, int stride_w,
                       int pad_h, int pad_w, int dilation_h, int dilation_w, int zoom_h, int zoom_w) {
    conv_weights<64, 64, false>(GEOMETRY, x, dy, sums, n, groups, run);
}

// dw += the sums of all runs, in their order; a thread a weight.
// sums (runs, groups, r s cg, kg)  dw (groups kg, cg, r, s)
extern "C" __global__ void __launch_bounds__(256)
conv_weights_add(const float* sums, float* dw, int runs, int groups, int kg, int cg, int taps) {
    const int64 count = (int64)groups * kg * cg * taps;
    for (int64 e = first_element(); e < count; e += element_step()) {
        const int k = (int)(e % kg), c = (int)(e / kg % cg);
        const int tap = (int)(e / kg / cg % taps);
        const int64 group = e / kg / cg / taps;
        float sum = 0.f;
        for (int run = 0; run < runs; run++) sum += sums[run * count + e];
        dw[((group * kg + k) * cg + c) * taps + tap] += sum;
    }
}

// Sums of one channel over a run of pixels, by 8 threads in turns: warp `turn` takes pixels turn, turn + 8, ...
// One block = 32 channels.  grid (runs, k / 32)
template <class Value>
__device__ void sum_channels(Value value, float* sums, int64 pixels, int k, int run) {
    __shared__ float part[8][32];
    const int lane = threadIdx.x % 32, turn = threadIdx.x / 32, channel = blockIdx.y * 32 + lane;
    const int64 first = (int64)blockIdx.x * run, last = min(pixels, first + run);
    float sum = 0.f;
    if (channel < k) {
        for (int64 pixel = first + turn; pixel < last; pixel += 8) sum += value(pixel, channel);
    }
    part[turn][lane] = sum;
    __syncthreads();
    if (turn == 0 && channel < k) {
        for (int other = 1; other < 8; other++) sum += part[other][lane];
        sums[(int64)blockIdx.x * k + channel] = sum;
    }
}

// Sums of dy for the bias.  dy (pixels, k)  sums (runs, k)
extern "C" __global__ void __launch_bounds__(256)
conv_bias(const float* dy, float* sums, long long pixels, int k, int run) {
    sum_channels([&](int64 pixel, int channel) { return dy[pixel * k + channel]; }, sums, pixels, k, run);
}

// dx = dy where y > 0, else slope dy, and its sums for the bias; dy and dx may be one array.
// y dy dx (pixels, k)  sums (runs, k)
extern "C" __global__ void __launch_bounds__(256)
relu_bias_backward(const float* y, const float* dy, float* dx, float* sums, long long pixels, int k, int run,
                   float slope) {
    sum_channels(
        [&](int64 pixel, int channel) {
            const int64 e = pixel * k + channel;
            const float value = y[e] > 0.f ? dy[e] : slope * dy[e];
            dx[e] = value;
            return value;
        },
        sums, pixels, k, run);
}

// Back through 2x2 max-pooling, ReLU and bias at once: each window's gradient goes to its largest, if that was
// above 0; the other three get 0.
// y dy (n, p/2, q/2, k)  argmax (n, p/2, q/2, ceil(k/4))  dx (n, p, q, k)  sums (runs, k); pixels: of y
extern "C" __global__ void __launch_bounds__(256)
relu_pool_bias_backward(const float* y, const unsigned char* argmax, const float* dy, float* dx, float* sums,
                        long long pixels, int k, int run, int p, int q) {
    sum_channels(
        [&](int64 pixel, int channel) {
            const int64 e = pixel * k + channel;
            const float value = y[e] > 0.f ? dy[e] : 0.f;
            const int place = argmax[pixel * ((k + 3) / 4) + channel / 4] >> 2 * (channel % 4) & 3;
            const int64 column = pixel % (q / 2), row = pixel / (q / 2);  // rows of all images: p is even
            for (int i = 0; i < 4; i++) {
                dx[((2 * row + i / 2) * q + 2 * column + i % 2) * k + channel] = i == place ? value : 0.f;
            }
            return value;
        },
        sums, pixels, k, run);
}

// db += the sums of all runs, in their order; a thread a channel.  sums (runs, k)  db (k)
extern "C" __global__ void __launch_bounds__(256) conv_bias_add(const float* sums, float* db, int runs, int k) {
    for (int64 e = first_element(); e < k; e += element_step()) {
        float sum = 0.f;
        for (int run = 0; run < runs; run++) sum += sums[(int64)run * k + e];
        db[e] += sum;
    }
}

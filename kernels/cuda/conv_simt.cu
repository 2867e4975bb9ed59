// Convolution in exact fp32 as a matrix product whose left factor is gathered from the image.
//
// Channels lie last: x (n, h, w, group c)  y (n, p, q, group k). The weights are packed first, so that the
// product reads them in rows: (group, r s c, k). One kernel serves forward and, on packed weights that are
// turned around, backward-data; a stride going backward is `zoom`: the image's rows lie that far apart.
//
//   forward        y[pixel][k]   = sum over (r, s, c) of x[pixel * stride - pad + dilation (r, s)][c] w[r s c][k]
//   backward-data  dx[pixel][c]  = sum over (r, s, k) of dy[(pixel - pad' + dilation (r, s)) / zoom][k] w'[r s k][c]
//   weights        dw[r s c][k]  = sum over pixels of x[...][c] dy[pixel][k]
#include "common.cuh"
#include "tile.cuh"
#include "conv.cuh"

#define LOWEST (-3.402823466e+38f)  // -FLT_MAX

// One block = TM output pixels x TN output channels of one group.  grid (pixels / TM, kg / TN, groups)
// Two buffers: while the block multiplies one step of TK (r, s, c), the next is on its way to registers.
template <int TM, int TN, bool VECTOR>
__device__ void conv(const Geometry& g, const float* x, const float* w, const float* b, float* y,
                     unsigned char* argmax, int n, bool relu, float slope) {
    using Product = Tile<TM, TN>;
    constexpr int TK = Product::TK;
    __shared__ typename Product::Factors buffer[2];
    const bool pooled = argmax != nullptr;
    const int64 pixels = (int64)n * g.p * g.q, m0 = (int64)blockIdx.x * TM;
    const int k0 = blockIdx.y * TN, group = blockIdx.z, depth = g.r * g.s * g.cg, tid = threadIdx.x;
    const int a_row = tid / (TK / 4), a_at = tid % (TK / 4) * 4;
    const int b_row = tid / (TN / 4), b_at = tid % (TN / 4) * 4;
    const Pixel pixel(g, m0 + a_row, pooled);
    const bool valid = m0 + a_row < pixels, b_mine = tid < Product::B_THREADS;
    Tap tap(g, a_at);
    x += group * g.cg;
    w += (int64)group * depth * g.kg + k0 + b_at;
    float4 a_next, b_next = make_float4(0.f, 0.f, 0.f, 0.f);

    auto load = [&](int k) {
        a_next = gather<VECTOR>(g, x, pixel, valid, tap);
        tap.move(g, TK);
        if (b_mine) {
            const int64 row = k + b_row;
            b_next = fetch<VECTOR>(w + row * g.kg, row < depth ? g.kg - k0 - b_at : 0);
        }
    };
    auto store = [&](typename Product::Factors& to) {
        to.a[a_at][a_row] = a_next.x;
        to.a[a_at + 1][a_row] = a_next.y;
        to.a[a_at + 2][a_row] = a_next.z;
        to.a[a_at + 3][a_row] = a_next.w;
        if (b_mine) *(float4*)&to.b[b_row][b_at] = b_next;
    };

    Product product;
    product.clear();
    load(0);
    store(buffer[0]);
    __syncthreads();
    for (int k = 0, now = 0; k < depth; k += TK, now ^= 1) {
        const bool more = k + TK < depth;
        if (more) load(k + TK);
        product.multiply(buffer[now]);
        if (more) {
            store(buffer[now ^ 1]);
            __syncthreads();
        }
    }

#pragma unroll
    for (int j = 0; j < Product::COLUMNS; j += 4) {
        const int column = k0 + Product::column(j), room = g.kg - column, first = group * g.kg + column;
        if (room <= 0) continue;
        float4 bias = b ? fetch<VECTOR>(b + first, room) : make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
        for (int i = 0; i < Product::ROWS; i++) {
            float* sum = &product.sum[i][j];
            sum[0] += bias.x, sum[1] += bias.y, sum[2] += bias.z, sum[3] += bias.w;
            if (relu) {
                for (int e = 0; e < 4; e++) sum[e] = sum[e] > 0.f ? sum[e] : slope * sum[e];
            }
        }
#pragma unroll
        for (int i = 0; i < Product::ROWS; i++) {
            const int64 m = m0 + Product::row() + i;
            if (m >= pixels) break;
            if (!pooled) {
                const float* sum = &product.sum[i][j];
                put<VECTOR>(y + m * g.k + first, room, make_float4(sum[0], sum[1], sum[2], sum[3]));
                continue;
            }
            if (i % 4) continue;
            // Row-major, strict >: the first of equals wins, NaN never does, as in pooling by itself.
            float best[4];
            unsigned code = 0;
            for (int e = 0; e < 4; e++) {
                best[e] = LOWEST;
                unsigned place = 0;
                for (int within = 0; within < 4; within++) {
                    const float value = product.sum[i + within][j + e];
                    if (value > best[e]) best[e] = value, place = within;
                }
                code |= place << 2 * e;
            }
            put<VECTOR>(y + m / 4 * g.k + first, room, make_float4(best[0], best[1], best[2], best[3]));
            argmax[m / 4 * ((g.k + 3) / 4) + first / 4] = (unsigned char)code;
        }
    }
}

// x (n, h, w, c)  packed (groups, r s cg, kg)  b (k)  y (n, p, q, k), or with argmax (n, p/2, q/2, k) and
// argmax (n, p/2, q/2, ceil(k/4)): 2 bits a channel.  c = groups cg, k = groups kg.
extern "C" __global__ void __launch_bounds__(256)
conv_128x128(const float* x, const float* packed, OPTIONAL const float* b, float* y,
             OPTIONAL unsigned char* argmax, int n, int h, int w, int c, int cg, int p, int q, int k, int kg,
             int r, int s, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w,
             int zoom_h, int zoom_w, int relu, float slope) {
    conv<128, 128, true>(GEOMETRY, x, packed, b, y, argmax, n, relu, slope);
}

// The same for 64 channels at a time.
extern "C" __global__ void __launch_bounds__(256)
conv_128x64(const float* x, const float* packed, OPTIONAL const float* b, float* y,
            OPTIONAL unsigned char* argmax, int n, int h, int w, int c, int cg, int p, int q, int k, int kg,
            int r, int s, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w,
            int zoom_h, int zoom_w, int relu, float slope) {
    conv<128, 64, true>(GEOMETRY, x, packed, b, y, argmax, n, relu, slope);
}

// The same for few pixels.
extern "C" __global__ void __launch_bounds__(256)
conv_64x64(const float* x, const float* packed, OPTIONAL const float* b, float* y,
           OPTIONAL unsigned char* argmax, int n, int h, int w, int c, int cg, int p, int q, int k, int kg,
           int r, int s, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w,
           int zoom_h, int zoom_w, int relu, float slope) {
    conv<64, 64, true>(GEOMETRY, x, packed, b, y, argmax, n, relu, slope);
}

// The same for any number of channels: numbers are read one by one.
extern "C" __global__ void __launch_bounds__(256)
conv_128x64_any(const float* x, const float* packed, OPTIONAL const float* b, float* y,
                OPTIONAL unsigned char* argmax, int n, int h, int w, int c, int cg, int p, int q, int k, int kg,
                int r, int s, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w,
                int zoom_h, int zoom_w, int relu, float slope) {
    conv<128, 64, false>(GEOMETRY, x, packed, b, y, argmax, n, relu, slope);
}

// Weights as the forward product reads them, a thread a number.
// w (groups kg, cg, r, s)  packed (groups, r s cg, kg)
extern "C" __global__ void __launch_bounds__(256)
conv_pack_forward(const float* w, float* packed, int groups, int kg, int cg, int taps) {
    const int64 count = (int64)groups * kg * cg * taps;
    for (int64 e = first_element(); e < count; e += element_step()) {
        const int k = (int)(e % kg), c = (int)(e / kg % cg);
        const int tap = (int)(e / kg / cg % taps);
        const int64 group = e / kg / cg / taps;
        packed[e] = w[((group * kg + k) * cg + c) * taps + tap];
    }
}

// Weights as backward-data reads them: turned by half a turn, channels exchanged.
// w (groups kg, cg, r, s)  packed (groups, r s kg, cg)
extern "C" __global__ void __launch_bounds__(256)
conv_pack_backward(const float* w, float* packed, int groups, int kg, int cg, int taps) {
    const int64 count = (int64)groups * kg * cg * taps;
    for (int64 e = first_element(); e < count; e += element_step()) {
        const int c = (int)(e % cg), k = (int)(e / cg % kg);
        const int tap = taps - 1 - (int)(e / cg / kg % taps);
        const int64 group = e / cg / kg / taps;
        packed[e] = w[((group * kg + k) * cg + c) * taps + tap];
    }
}

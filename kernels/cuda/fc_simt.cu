// Fully connected layers in exact fp32: matrix products y (m, n) = A (m, depth) B (depth, n), each factor
// read as it lies in memory. A product over a long depth with few outputs is split; parts are added in order.
#include "common.cuh"
#include "tile.cuh"

// How a factor lies: rows of the reduction index (A (depth, m), B (depth, n)), or rows of m or n, in which
// the reduction index runs fastest.
enum Order { DEPTH_OUTSIDE, DEPTH_INSIDE };

// One block = 64 x 64 outputs over one run of the depth.  grid (m / 64, n / 64, runs)
// Two buffers: the next 16 steps of the depth are fetched while these are multiplied.
template <Order A, Order B, bool VECTOR, class Put>
__device__ void product(const float* a, const float* b, int m, int n, int depth, int run, Put write) {
    using Product = Tile<64, 64>;
    constexpr int TK = Product::TK;
    __shared__ typename Product::Factors buffer[2];
    const int tid = threadIdx.x, m0 = blockIdx.x * 64, n0 = blockIdx.y * 64;
    const int first = blockIdx.z * run, last = min(depth, first + run);
    // Four numbers along what lies inside: of 16 x 64, or of 64 x 16.
    const int outside_row = tid / 16, outside_at = tid % 16 * 4, inside_row = tid / 4, inside_at = tid % 4 * 4;
    float4 a_next, b_next;

    auto factor = [&](Order order, const float* from, int start, int count, int k) {
        if (order == DEPTH_OUTSIDE) {
            const int row = k + outside_row, at = start + outside_at;
            return fetch<VECTOR>(from + (int64)row * count + at, row < last ? count - at : 0);
        }
        const int row = start + inside_row, at = k + inside_at;
        return fetch<VECTOR>(from + (int64)row * depth + at, row < count ? last - at : 0);
    };
    auto load = [&](int k) {
        a_next = factor(A, a, m0, m, k);
        b_next = factor(B, b, n0, n, k);
    };
    auto place = [&](Order order, float(*to)[68], float4 value) {
        if (order == DEPTH_OUTSIDE) {
            *(float4*)&to[outside_row][outside_at] = value;
            return;
        }
        to[inside_at][inside_row] = value.x;
        to[inside_at + 1][inside_row] = value.y;
        to[inside_at + 2][inside_row] = value.z;
        to[inside_at + 3][inside_row] = value.w;
    };
    auto store = [&](typename Product::Factors& to) {
        place(A, to.a, a_next);
        place(B, to.b, b_next);
    };

    Product sums;
    sums.clear();
    load(first);
    store(buffer[0]);
    __syncthreads();
    for (int k = first, now = 0; k < last; k += TK, now ^= 1) {
        const bool more = k + TK < last;
        if (more) load(k + TK);
        sums.multiply(buffer[now]);
        if (more) {
            store(buffer[now ^ 1]);
            __syncthreads();
        }
    }
    const int column = n0 + Product::column(0);
#pragma unroll
    for (int i = 0; i < Product::ROWS; i++) {
        const int row = m0 + Product::row() + i;
        if (row < m) write(row, column, make_float4(sums.sum[i][0], sums.sum[i][1], sums.sum[i][2], sums.sum[i][3]));
    }
}

// Writes a part of the sum: parts (runs, m, n).
template <Order A, Order B, bool VECTOR>
__device__ void part_of_product(const float* a, const float* b, float* parts, int m, int n, int depth, int run) {
    parts += (int64)blockIdx.z * m * n;
    product<A, B, VECTOR>(a, b, m, n, depth, run, [&](int row, int column, float4 value) {
        put<VECTOR>(parts + (int64)row * n + column, n - column, value);
    });
}

// Adds the product to dw (m, n).
template <bool VECTOR>
__device__ void add_product(const float* a, const float* b, float* dw, int m, int n, int depth) {
    product<DEPTH_OUTSIDE, DEPTH_OUTSIDE, VECTOR>(a, b, m, n, depth, depth, [&](int row, int column, float4 value) {
        float* to = dw + (int64)row * n + column;
        const float4 old = fetch<VECTOR>(to, n - column);
        put<VECTOR>(to, n - column, make_float4(old.x + value.x, old.y + value.y, old.z + value.z, old.w + value.w));
    });
}

// Rows of A times rows of B: x (m, depth)  w (n, depth)  parts (runs, m, n)
extern "C" __global__ void __launch_bounds__(256)
fc_rows(const float* a, const float* b, float* parts, int m, int n, int depth, int run) {
    part_of_product<DEPTH_INSIDE, DEPTH_INSIDE, true>(a, b, parts, m, n, depth, run);
}

// The same where m, n or the depth is no multiple of 4.
extern "C" __global__ void __launch_bounds__(256)
fc_rows_any(const float* a, const float* b, float* parts, int m, int n, int depth, int run) {
    part_of_product<DEPTH_INSIDE, DEPTH_INSIDE, false>(a, b, parts, m, n, depth, run);
}

// Rows of A times columns of B: a (m, depth)  b (depth, n)  parts (runs, m, n)
extern "C" __global__ void __launch_bounds__(256)
fc_columns(const float* a, const float* b, float* parts, int m, int n, int depth, int run) {
    part_of_product<DEPTH_INSIDE, DEPTH_OUTSIDE, true>(a, b, parts, m, n, depth, run);
}

// The same where m, n or the depth is no multiple of 4.
extern "C" __global__ void __launch_bounds__(256)
fc_columns_any(const float* a, const float* b, float* parts, int m, int n, int depth, int run) {
    part_of_product<DEPTH_INSIDE, DEPTH_OUTSIDE, false>(a, b, parts, m, n, depth, run);
}

// Columns of A times columns of B, added: a (depth, m)  b (depth, n)  dw (m, n); depth: images
extern "C" __global__ void __launch_bounds__(256)
fc_weights(const float* a, const float* b, float* dw, int m, int n, int depth) {
    add_product<true>(a, b, dw, m, n, depth);
}

// The same where m or n is no multiple of 4.
extern "C" __global__ void __launch_bounds__(256)
fc_weights_any(const float* a, const float* b, float* dw, int m, int n, int depth) {
    add_product<false>(a, b, dw, m, n, depth);
}

// y = the sum of all parts in their order, plus the bias; a thread a number.
// parts (runs, m, n)  b (n)  y (m, n)
extern "C" __global__ void __launch_bounds__(256)
fc_add(const float* parts, OPTIONAL const float* b, float* y, int runs, int m, int n) {
    const int64 count = (int64)m * n;
    for (int64 e = first_element(); e < count; e += element_step()) {
        float sum = 0.f;
        for (int run = 0; run < runs; run++) sum += parts[run * count + e];
        y[e] = b ? sum + b[e % n] : sum;
    }
}

// db += the sum of each column; a thread a column.  dy (m, n)  db (n)
extern "C" __global__ void __launch_bounds__(256) fc_bias(const float* dy, float* db, int m, int n) {
    for (int64 e = first_element(); e < n; e += element_step()) {
        float sum = 0.f;
        for (int row = 0; row < m; row++) sum += dy[(int64)row * n + e];
        db[e] += sum;
    }
}

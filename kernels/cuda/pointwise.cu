// One element at a time: ReLU, dropout, eltwise, split, concat, fill, copy, convert.
//
// In all but concat and convert every thread of the grid takes elements of its own, in memory order: which
// axis lies where makes no difference, and x and y may be the same memory. size: elements.

#include "common.cuh"
#include "philox.cuh"

// x, y: (size)
extern "C" __global__ void __launch_bounds__(256)
relu_forward(const float* x, float* y, float negative_slope, long long size) {
    assign(y, size, [=](int64 i) { return x[i] > 0 ? x[i] : negative_slope * x[i]; });
}

// x, dy, dx: (size)
extern "C" __global__ void __launch_bounds__(256)
relu_backward(const float* x, const float* dy, float* dx, float negative_slope, long long size) {
    assign(dx, size, [=](int64 i) { return dy[i] * (x[i] > 0 ? 1.0f : negative_slope); });
}

// An element finds its number in NCHW order over the whole batch, draws the word of that number and is kept
// if the word is not below the threshold. x, y: (outer, c, inner)  state: the slots of kernels/interface.py
__device__ void dropout(const float* x, float* y, const int64* state, unsigned layer, unsigned purpose,
                        unsigned threshold, float factor, int64 per_image, Form form, int64 size) {
    const uint64 seed = (uint64)state[0];
    const unsigned draw = (unsigned)state[1];
    const int64 first = state[2] * per_image;
    assign(y, size, [=](int64 i) {
        const int64 number = first + form.number(i);
        const unsigned group = (unsigned)(number / 4), lane = (unsigned)(number % 4);
        const unsigned word = philox(group, draw, layer, purpose, seed, lane);
        return word >= threshold ? x[i] * factor : 0.0f;
    });
}

// x, y: (outer, c, inner); state: (8)
extern "C" __global__ void __launch_bounds__(256)
dropout_forward(const float* x, float* y, const long long* state, unsigned layer, unsigned purpose,
                unsigned threshold, float factor, long long per_image, int c, int inner, int last,
                long long size) {
    dropout(x, y, state, layer, purpose, threshold, factor, per_image, Form{c, inner, last != 0}, size);
}

// dy, dx: (outer, c, inner); state: (8)
extern "C" __global__ void __launch_bounds__(256)
dropout_backward(const float* dy, float* dx, const long long* state, unsigned layer, unsigned purpose,
                 unsigned threshold, float factor, long long per_image, int c, int inner, int last,
                 long long size) {
    dropout(dy, dx, state, layer, purpose, threshold, factor, per_image, Form{c, inner, last != 0}, size);
}

// The part is rows that lie in longer rows of the whole, `shift` from their start: a row is an image's
// channels of the part, or, channels last, those of one cell. size = rows * width
// part: (rows, width)  whole: (rows, pitch)
extern "C" __global__ void __launch_bounds__(256)
concat_forward(const float* part, float* whole, long long width, long long pitch, long long shift,
               long long size) {
#pragma unroll 1
    for (int64 i = first_element(); i < size; i += element_step()) {
        const int64 row = i / width;
        whole[row * pitch + shift + (i - row * width)] = part[i];
    }
}

// The same rows, read. whole: (rows, pitch)  part: (rows, width)  size = rows * width
extern "C" __global__ void __launch_bounds__(256)
concat_backward(const float* whole, float* part, long long width, long long pitch, long long shift,
                long long size) {
    assign(part, size, [=](int64 i) {
        const int64 row = i / width;
        return whole[row * pitch + shift + (i - row * width)];
    });
}

// y = coeff_a a + coeff_b b. a, b, y: (size)
extern "C" __global__ void __launch_bounds__(256)
eltwise_sum_forward(const float* a, OPTIONAL const float* b, float* y, float coeff_a, float coeff_b,
                    long long size) {
    if (b) {
        assign(y, size, [=](int64 i) { return coeff_a * a[i] + coeff_b * b[i]; });
    } else {
        assign(y, size, [=](int64 i) { return coeff_a * a[i]; });
    }
}

// dy, dx: (size)
extern "C" __global__ void __launch_bounds__(256)
eltwise_sum_backward(const float* dy, float* dx, float coeff, long long size) {
    assign(dx, size, [=](int64 i) { return coeff * dy[i]; });
}

// y = a b. a, b, y: (size)
extern "C" __global__ void __launch_bounds__(256)
eltwise_prod_forward(const float* a, const float* b, float* y, long long size) {
    assign(y, size, [=](int64 i) { return a[i] * b[i]; });
}

// dx = dy x, x one of the others. dy, x, dx: (size)
extern "C" __global__ void __launch_bounds__(256)
eltwise_prod_backward(const float* dy, const float* x, float* dx, long long size) {
    assign(dx, size, [=](int64 i) { return dy[i] * x[i]; });
}

// index 1: a is the first input, b the second, and a tie is b's. Later a is y as it stands, b input number
// `index`, and only a larger b changes y. a, b, y, argmax: (size)
extern "C" __global__ void __launch_bounds__(256)
eltwise_max_forward(const float* a, const float* b, float* y, int* argmax, int index, long long size) {
#pragma unroll 1
    for (int64 i = first_element(); i < size; i += element_step()) {
        const float before = a[i], value = b[i];
        if (index == 1) {
            argmax[i] = before > value ? 0 : 1;
            y[i] = before > value ? before : value;
        } else if (value > before) {
            argmax[i] = index;
            y[i] = value;
        }
    }
}

// dy, argmax, dx: (size)
extern "C" __global__ void __launch_bounds__(256)
eltwise_max_backward(const float* dy, const int* argmax, float* dx, int index, long long size) {
    assign(dx, size, [=](int64 i) { return argmax[i] == index ? dy[i] : 0.0f; });
}

// dx = a + b: two tops' diffs, or the sum so far and the next. a, b, dx: (size)
extern "C" __global__ void __launch_bounds__(256)
split_backward(const float* a, const float* b, float* dx, long long size) {
    assign(dx, size, [=](int64 i) { return a[i] + b[i]; });
}

// x: (size)
extern "C" __global__ void __launch_bounds__(256)
fill(float* x, float value, long long size) {
    assign(x, size, [=](int64) { return value; });
}

// x, y: (size)
extern "C" __global__ void __launch_bounds__(256)
copy(const float* x, float* y, long long size) {
    assign(y, size, [=](int64 i) { return x[i]; });
}

// One block = 32 x 32 cells of one of `outer` matrices at a time: read along the rows into shared memory,
// written along the columns, so that both go over neighbours.
// x: (outer, rows, columns)  y: (outer, columns, rows)
extern "C" __global__ void __launch_bounds__(256)
convert(const float* x, float* y, long long outer, int rows, int columns) {
    __shared__ float tile[32][33];  // 33: the 32 cells of a column lie in different banks
    const int64 down = (rows + 31) / 32, across = (columns + 31) / 32;
    const int fast = threadIdx.x % 32, slow = threadIdx.x / 32;
    for (int64 at = blockIdx.x; at < outer * down * across; at += gridDim.x) {
        const int row = (int)(at / across % down) * 32, column = (int)(at % across) * 32;
        const int64 start = at / (across * down) * rows * columns;
        for (int i = slow; i < 32; i += 8) {
            if (row + i < rows && column + fast < columns) {
                tile[i][fast] = x[start + (int64)(row + i) * columns + column + fast];
            }
        }
        __syncthreads();
        for (int i = slow; i < 32; i += 8) {
            if (column + i < columns && row + fast < rows) {
                y[start + (int64)(column + i) * rows + row + fast] = tile[fast][i];
            }
        }
        __syncthreads();
    }
}

// Each block leaves the smallest number, in NCHW order, of its elements that are NaN or infinite, or `size`.
// x: (outer, c, inner)  found: (blocks)
extern "C" __global__ void __launch_bounds__(256)
find_nonfinite(const float* x, long long* found, int c, int inner, int last, long long size) {
    __shared__ int64 shared[8];
    const Form form{c, inner, last != 0};
    int64 least = size;
#pragma unroll 1
    for (int64 i = first_element(); i < size; i += element_step()) {
        if (!(fabsf(x[i]) <= LARGEST_FLOAT)) {
            const int64 number = form.number(i);
            if (number < least) least = number;
        }
    }
    for (int distance = 16; distance; distance /= 2) {
        const int64 other = __shfl_down_sync(0xffffffffu, least, distance);
        if (other < least) least = other;
    }
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = least;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < 8; warp++) {
            if (shared[warp] < least) least = shared[warp];
        }
        found[blockIdx.x] = least;
    }
}

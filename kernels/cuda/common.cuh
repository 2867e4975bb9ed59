// What every kernel may use.
#pragma once

#define OPTIONAL  // before a pointer parameter: it may be null

typedef unsigned char uint8;
typedef long long int64;
typedef unsigned long long uint64;

// Numbers of an element in an array (outer, c, inner), and where it lies.
// Channels first it lies in that order; channels last as (outer, inner, c).
struct Form {
    int c, inner;
    bool last;  // channels last

    __device__ int64 at(int64 outer, int channel, int64 i) const {
        return last ? (outer * inner + i) * c + channel : (outer * c + channel) * inner + i;
    }

    // The same by the number outer * inner + i of its position.
    __device__ int64 place(int64 position, int channel) const {
        return last ? position * c + channel : at(position / inner, channel, position % inner);
    }

    // From one channel to the next.
    __device__ int64 channel_step() const { return last ? 1 : inner; }

    // Of the element that lies at `place`: its channel, its position's number, and its own number in the
    // order (outer, c, inner).
    __device__ int channel(int64 place) const { return (int)(last ? place % c : place / inner % c); }
    __device__ int64 position(int64 place) const {
        return last ? place / c : place / inner / c * inner + place % inner;
    }
    __device__ int64 number(int64 place) const {
        if (!last) return place;
        const int64 position = place / c, outer = position / inner;
        return (outer * c + place % c) * inner + position % inner;
    }
};

const float LARGEST_FLOAT = 3.402823466e+38f, SMALLEST_FLOAT = 1.175494351e-38f;  // normal ones
__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fffffff); }

// First element of this thread, and the step to its next: every thread of the grid takes a share.
__device__ __forceinline__ int64 first_element() { return (int64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64 element_step() { return (int64)gridDim.x * blockDim.x; }

// y[i] = value(i) for every i below size. Four are read before the first of them is written: loads that
// wait for no store keep the memory busy. value(i) may read y[i], and no other element of y.
template <class F>
__device__ __forceinline__ void assign(float* y, int64 size, F value) {
    const int64 step = element_step();
    int64 i = first_element();
#pragma unroll 1
    for (; i + 3 * step < size; i += 4 * step) {
        const float a = value(i), b = value(i + step), c = value(i + 2 * step), d = value(i + 3 * step);
        y[i] = a;
        y[i + step] = b;
        y[i + 2 * step] = c;
        y[i + 3 * step] = d;
    }
#pragma unroll 1
    for (; i < size; i += step) y[i] = value(i);
}

// Sum over the block's 256 threads in a fixed order; thread 0 has it. `shared`: 8 numbers.
template <class T>
__device__ T block_sum(T value, T* shared) {
    for (int distance = 16; distance; distance /= 2) value += __shfl_down_sync(0xffffffffu, value, distance);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < 8; warp++) value += shared[warp];
    }
    __syncthreads();
    return value;
}

// Sum of `count` partial sums by the block, in an order that depends on count alone; thread 0 has it.
__device__ __forceinline__ double parts_sum(const double* parts, int count, double* shared) {
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += 256) sum += parts[i];
    return block_sum(sum, shared);
}

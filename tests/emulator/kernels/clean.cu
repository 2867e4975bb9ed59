// Kernels that do nothing wrong: whatever the seed, the result is the same.
#include "common.cuh"
// Every thread of the grid takes a share. x, y: (count)
extern "C" __global__ void __launch_bounds__(256)
scale(const float* x, float* y, long long count, float a) {
    for (int64 i = first_element(); i < count; i += element_step()) y[i] = fmaxf(fmaf(a, x[i], 1.0f), 0.0f);
}

// One block reverses 256 elements through shared memory. x, y: (blocks, 256)
extern "C" __global__ void __launch_bounds__(256) reverse(const float* x, float* y) {
    __shared__ float row[256];
    const int64 first = (int64)blockIdx.x * 256;
    row[threadIdx.x] = x[first + threadIdx.x];
    __syncthreads();
    y[first + threadIdx.x] = row[255 - threadIdx.x];
}

// One block a row. x: (rows, columns)  y: (rows)
extern "C" __global__ void __launch_bounds__(256) sum_rows(const float* x, float* y, int columns) {
    __shared__ double parts[8];
    double sum = 0;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += x[(int64)blockIdx.x * columns + i];
    sum = block_sum(sum, parts);
    if (threadIdx.x == 0) y[blockIdx.x] = (float)sum;
}

template <class T>
__device__ T through_shared(T value, int from) {
    __shared__ T kept[64];
    kept[threadIdx.x] = value;
    __syncthreads();
    return kept[from];
}

// Two shared arrays of one template. y: (64)  z: (64)
extern "C" __global__ void __launch_bounds__(64) templates(int* y, float* z) {
    const int t = threadIdx.x;
    y[t] = through_shared(t * 3, 63 - t);
    z[t] = through_shared(t * 0.5f, t ^ 1);
}

// What each lane of two warps gets from the warp functions. y: (10, 64)
extern "C" __global__ void __launch_bounds__(64) warps(int* y) {
    const int t = threadIdx.x, value = 100 + t;
    y[t] = __shfl_sync(0xffffffffu, value, 5);
    y[64 + t] = __shfl_sync(0xffffffffu, value, 11, 8);
    y[128 + t] = __shfl_xor_sync(0xffffffffu, value, 6);
    y[192 + t] = __shfl_down_sync(0xffffffffu, value, 3);
    y[256 + t] = __shfl_up_sync(0xffffffffu, value, 2, 16);
    y[320 + t] = (int)__ballot_sync(0xffffffffu, t % 3 == 0);
    y[384 + t] = __any_sync(0xffffffffu, t == 40);
    y[448 + t] = __all_sync(0xffffffffu, t < 40);
    // Halves of a warp go their own ways.
    if (t % 32 < 12) y[512 + t] = __shfl_xor_sync(0x00000fffu, value, 1);
    else y[512 + t] = __shfl_xor_sync(0xfffff000u, value, 2);
    y[576 + t] = (int)(__shfl_xor_sync(0xffffffffu, (long long)value << 33, 1) >> 33);
}

// Lanes of a warp hand values on with __syncwarp alone. y: (64)
extern "C" __global__ void __launch_bounds__(64) neighbours(int* y) {
    __shared__ int kept[64];
    const int t = threadIdx.x, warp = t / 32 * 32;
    for (int turn = 0; turn < 3; turn++) {
        kept[t] = t + turn;
        __syncwarp();
        const int other = kept[warp + (t + 1) % 32];
        __syncwarp();
        y[t] = other;
    }
}

// Vectors. x, y: (4 * count)
extern "C" __global__ void __launch_bounds__(256) vectors(const float* x, float* y, int count) {
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        float4 v = reinterpret_cast<const float4*>(x)[i];
        const float2 pair = __ldg(reinterpret_cast<const float2*>(x) + 2 * i);
        v.x += pair.y;
        reinterpret_cast<float4*>(y)[i] = make_float4(v.w, v.z, v.y, v.x);
    }
}

// counts: (2), the sum and the number of all threads  extremes: (2), least and greatest
extern "C" __global__ void __launch_bounds__(256) count_threads(int* counts, long long* extremes) {
    const int me = blockIdx.x * 256 + threadIdx.x;
    atomicAdd(&counts[0], me);
    atomicAdd(&counts[1], 1);
    atomicMin(&extremes[0], (long long)me - 7);
    atomicMax(&extremes[1], (long long)me << 33);
}

// Who comes when. count: (1)  before, after: (blocks, 64)
extern "C" __global__ void __launch_bounds__(64) tickets(int* count, int* before, int* after) {
    const int me = blockIdx.x * 64 + threadIdx.x;
    before[me] = atomicAdd(count, 1);
    __syncwarp();
    after[me] = atomicAdd(count, 1);
}

// Functions of numbers. x: (count)  y: (11, count)
extern "C" __global__ void __launch_bounds__(256) numbers(const float* x, float* y, int count) {
    const int i = threadIdx.x;
    if (i >= count) return;
    float* at = y + i;
    const float v = x[i];
    const float results[11] = {
        expf(v), logf(fabsf(v)), powf(fabsf(v), 1.5f), sqrtf(fabsf(v)), fmaxf(v, 0.25f), fminf(v, 0.25f),
        (float)isfinite(v), (float)isnan(v), (float)__umulhi(__float_as_uint(v), 1u << 20), (float)min(i, 3),
        (float)max((long long)i, 2LL)};
    for (int r = 0; r < 11; r++) at[r * count] = results[r];
}

// x, y: (count), the same memory allowed: each thread has elements of its own
extern "C" __global__ void __launch_bounds__(256) in_place(const float* x, float* y, OPTIONAL const int* mask, int count) {
    for (int i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) {
        if (!mask || mask[i]) y[i] = 2 * x[i];
    }
}

// Each kernel makes one mistake, which its name tells. x, y: (256) unless said otherwise.
#include "common.cuh"
// ---- shared memory
extern "C" __global__ void __launch_bounds__(256) no_barrier_after_write(const float* x, float* y) {
    __shared__ float row[256];
    row[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = row[255 - threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(256) no_barrier_after_read(const float* x, float* y) {
    __shared__ float row[256];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    const float other = row[255 - threadIdx.x];
    row[threadIdx.x] = 2 * other;
    __syncthreads();
    y[threadIdx.x] = row[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(256) two_threads_write(float* y) {
    __shared__ float last;
    last = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = last;
}

// A shuffle exchanges values; it orders no memory.
extern "C" __global__ void __launch_bounds__(256) shuffle_as_barrier(const float* x, float* y) {
    __shared__ float row[256];
    row[threadIdx.x] = x[threadIdx.x];
    const float same = __shfl_sync(0xffffffffu, x[0], 0);
    y[threadIdx.x] = row[threadIdx.x ^ 1] + same;
}

// What came before the warp's barrier is in order, what comes after is not.
extern "C" __global__ void __launch_bounds__(32) warp_barrier_too_early(const float* x, float* y) {
    __shared__ float row[32];
    __syncwarp();
    row[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = row[threadIdx.x ^ 1];
}

// Half a warp meets, the other half reads what it wrote.
extern "C" __global__ void __launch_bounds__(32) barrier_of_half(const float* x, float* y) {
    __shared__ float row[32];
    row[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x < 16) __syncwarp(0x0000ffffu);
    else __syncwarp(0xffff0000u);
    y[threadIdx.x] = row[threadIdx.x ^ 16];
}

// The writer is ordered with its own warp, not with the others, which read before it.
extern "C" __global__ void __launch_bounds__(256) writes_what_other_warps_read(const float* x, float* y) {
    __shared__ float row[256];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = row[5];
    __syncwarp();
    if (threadIdx.x == 0) row[5] = 1;
}

// In order, the writer comes last of the lanes that read.
extern "C" __global__ void __launch_bounds__(32) writes_what_its_warp_reads(const float* x, float* y) {
    __shared__ float row[32];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = row[5];
    if (threadIdx.x == 31) row[5] = 1;
}

// Lane 1 met others between the two reads, but not lane 0.
extern "C" __global__ void __launch_bounds__(32) writes_what_one_lane_reads(const float* x, float* y) {
    __shared__ float row[32];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) {
        y[0] = row[5];
    } else {
        __syncwarp(0xfffffffeu);
        if (threadIdx.x == 1) {
            y[1] = row[5];
            row[5] = 1;
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) never_written_shared(float* y) {
    __shared__ float row[256];
    if (threadIdx.x != 77) row[threadIdx.x] = 1;
    __syncthreads();
    y[threadIdx.x] = row[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(256) reads_past_the_end(const float* x, float* y) {
    y[threadIdx.x] = x[threadIdx.x + 1];
}

// x: (254)
extern "C" __global__ void __launch_bounds__(256) reads_half_a_vector_past_the_end(const float* x, float* y) {
    if (threadIdx.x >= 64) return;
    const float4 v = reinterpret_cast<const float4*>(x)[threadIdx.x];
    y[threadIdx.x] = v.x + v.y + v.z + v.w;
}

extern "C" __global__ void __launch_bounds__(256) writes_past_the_end(float* y) { y[threadIdx.x + 1] = 3; }

extern "C" __global__ void __launch_bounds__(256) writes_before_the_start(float* y) { y[(int)threadIdx.x - 2] = 3; }

extern "C" __global__ void __launch_bounds__(256) writes_const(const float* x, float* y) {
    y[threadIdx.x] = 1;
    const_cast<float*>(x)[threadIdx.x] = 2;
}

extern "C" __global__ void __launch_bounds__(256) misaligned_vector(const float* x, float* y) {
    const float4 v = *reinterpret_cast<const float4*>(x + threadIdx.x % 8);
    y[threadIdx.x] = v.x + v.y + v.z + v.w;
}

extern "C" __global__ void __launch_bounds__(256) misaligned_shared(const float* x, float* y) {
    __shared__ __align__(16) float row[256];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    const float2 v = *reinterpret_cast<const float2*>(row + threadIdx.x % 255);
    y[threadIdx.x] = v.x + v.y;
}

extern "C" __global__ void __launch_bounds__(256) shared_index_past_the_end(float* y, int which) {
    __shared__ float row[32];
    if (threadIdx.x < 32) row[threadIdx.x] = 1;
    __syncthreads();
    y[threadIdx.x] = row[which];
}

__device__ float element(const float* row, int which) { return row[which]; }

extern "C" __global__ void __launch_bounds__(256) shared_pointer_past_the_end(float* y, int which) {
    __shared__ float row[32];
    if (threadIdx.x < 32) row[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = element(row, which);
}

extern "C" __global__ void __launch_bounds__(256) blocks_write_the_same(float* y) { y[threadIdx.x] = blockIdx.x; }

extern "C" __global__ void __launch_bounds__(256) reads_another_block(float* y, float* z) {
    const int i = blockIdx.x * 256 + threadIdx.x;
    y[i] = i;
    z[i] = y[(i + 256) % (gridDim.x * 256)];
}

extern "C" __global__ void __launch_bounds__(256) last_block_writes_what_the_first_reads(float* y, float* z) {
    if (blockIdx.x == gridDim.x - 1) y[threadIdx.x] = 1;
    else if (blockIdx.x == 0) z[threadIdx.x] = y[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(256) last_block_writes_what_all_read(float* y, float* z) {
    z[blockIdx.x * 256 + threadIdx.x] = y[threadIdx.x];
    if (blockIdx.x == gridDim.x - 1) y[threadIdx.x] = 1;
}

extern "C" __global__ void __launch_bounds__(256) global_without_barrier(float* y, float* z) {
    y[threadIdx.x] = threadIdx.x;
    z[threadIdx.x] = y[255 - threadIdx.x];
}

// counts: (1), which begins at 1
extern "C" __global__ void __launch_bounds__(256) last_thread_reads_the_count(int* counts, int* y) {
    if (atomicAdd(counts, 1) == 256) y[0] = counts[0];
}

// counts: (1)
extern "C" __global__ void __launch_bounds__(256) reads_a_running_count(int* counts, int* y) {
    atomicAdd(counts, 1);
    __syncthreads();
    y[blockIdx.x * 256 + threadIdx.x] = counts[0];
}

extern "C" __global__ void __launch_bounds__(256) diverges_at_a_shuffle(const float* x, float* y) {
    float v = x[threadIdx.x];
    if (threadIdx.x % 2) v += __shfl_xor_sync(0xffffffffu, v, 1);
    else v -= __shfl_xor_sync(0xffffffffu, v, 1);
    y[threadIdx.x] = v;
}

extern "C" __global__ void __launch_bounds__(256) mask_leaves_itself_out(const float* x, float* y) {
    y[threadIdx.x] = __shfl_sync(0x7fffffffu, x[threadIdx.x], 0);
}

extern "C" __global__ void __launch_bounds__(256) takes_from_a_lane_outside(const float* x, float* y) {
    if (threadIdx.x % 32 < 8) y[threadIdx.x] = __shfl_xor_sync(0x000000ffu, x[threadIdx.x], 8);
}

extern "C" __global__ void __launch_bounds__(256) lane_ends_early(const float* x, float* y) {
    if (threadIdx.x == 35) return;
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
}

extern "C" __global__ void __launch_bounds__(256) first_lane_ends_early(const float* x, float* y) {
    if (threadIdx.x == 0) return;
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
}

extern "C" __global__ void __launch_bounds__(256) skips_a_barrier(float* y) {
    if (threadIdx.x == 9) return;
    __syncthreads();
    y[threadIdx.x] = 1;
}

extern "C" __global__ void __launch_bounds__(256) first_skips_a_barrier(float* y) {
    if (threadIdx.x == 0) return;
    __syncthreads();
    y[threadIdx.x] = 1;
}

extern "C" __global__ void __launch_bounds__(256) two_barriers_apart(float* y) {
    if (threadIdx.x < 100) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    y[threadIdx.x] = 1;
}

extern "C" __global__ void __launch_bounds__(32) barrier_against_warp(float* y) {
    if (threadIdx.x == 3) {
        __syncthreads();
    } else {
        __syncwarp();
        __syncthreads();
    }
    y[threadIdx.x] = 1;
}

extern "C" __global__ void __launch_bounds__(256) null_pointer(OPTIONAL const float* x, float* y) {
    y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(256) divides_by_zero(int* y, int divisor) {
    y[threadIdx.x] = threadIdx.x / divisor;
}

__device__ __noinline__ int deep(volatile int* at, int n) {
    volatile int frame[256];
    frame[n % 256] = n;
    return n ? deep(frame, n - 1) + at[0] + frame[n % 256] : 0;
}

extern "C" __global__ void __launch_bounds__(256) overflows_its_stack(int* y, int depth) {
    volatile int zero = 0;
    y[threadIdx.x] = deep(&zero, depth);
}

extern "C" __global__ void __launch_bounds__(256) traps(int* y) {
    if (threadIdx.x == 5) __trap();
    y[threadIdx.x] = 1;
}

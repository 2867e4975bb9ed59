// What ptx.cuh gives: one kernel for each instruction, and mistakes with asynchronous copies.
#include "ptx.cuh"

// One warp; each lane has its registers of the fragments. a: (32, 4)  b: (32, 2)  d: (32, 4)
extern "C" __global__ void __launch_bounds__(32) multiply(const int* a, const int* b, float* d, int which) {
    const int l = threadIdx.x;
    unsigned ra[4], rb[2];
    float rd[4];
    for (int i = 0; i < 4; i++) ra[i] = a[4 * l + i];
    for (int i = 0; i < 2; i++) rb[i] = b[2 * l + i];
    for (int i = 0; i < 4; i++) rd[i] = d[4 * l + i];
    if (which == 0) mma_bf16(rd, ra, rb);
    else if (which == 1) mma_f16(rd, ra, rb);
    else mma_tf32(rd, ra, rb);
    for (int i = 0; i < 4; i++) d[4 * l + i] = rd[i];
}

// One warp takes four 8x8 matrices of 16-bit elements. x: (32, 4), a row a lane  y, z: (32, 4)
extern "C" __global__ void __launch_bounds__(32) load_matrices(const int* x, int* y, int* z) {
    __shared__ __align__(16) int rows[32 * 4];
    const int l = threadIdx.x;
    for (int i = 0; i < 4; i++) rows[4 * l + i] = x[4 * l + i];
    __syncwarp();
    unsigned plain[4], transposed[4];
    ldmatrix4(plain, rows + 4 * l);
    ldmatrix4t(transposed, rows + 4 * l);
    for (int i = 0; i < 4; i++) y[4 * l + i] = plain[i];
    for (int i = 0; i < 4; i++) z[4 * l + i] = transposed[i];
}

// x: (count)  y: (count)
extern "C" __global__ void __launch_bounds__(256) round_to_tf32(const float* x, float* y, int count) {
    const int i = threadIdx.x;
    if (i < count) y[i] = __uint_as_float(to_tf32(x[i]));
}

// 64 threads pipe 3 tiles of 64 * 4 numbers through two buffers. x, y: (3, 64, 4); rows from `valid` on
// are zeros. `open`: 1 is right, 2 waits too little. `barrier`: 1 is right, 0 has none, 2 has it before the wait.
extern "C" __global__ void __launch_bounds__(64)
pipe(const float* x, float* y, int valid, int open, int barrier) {
    __shared__ float4 tiles[2][64];
    const int t = threadIdx.x, other = 63 - t;
    const float4* from = reinterpret_cast<const float4*>(x);
    cp_async16(&tiles[0][t], from + t, t < valid);
    cp_commit();
    for (int turn = 0; turn < 3; turn++) {
        if (turn < 2) cp_async16(&tiles[(turn + 1) % 2][t], from + 64 * (turn + 1) + t, t < valid);
        cp_commit();
        if (barrier == 2) __syncthreads();
        if (open == 1) cp_wait<1>();
        else cp_wait<2>();
        if (barrier == 1) __syncthreads();
        reinterpret_cast<float4*>(y)[64 * turn + other] = tiles[turn % 2][other];
        __syncthreads();
    }
    cp_wait<0>();
}

extern "C" __global__ void __launch_bounds__(64) never_waits(const float* x, float* y) {
    __shared__ float4 tile[64];
    cp_async16(&tile[threadIdx.x], reinterpret_cast<const float4*>(x) + threadIdx.x);
    y[threadIdx.x] = 0;
}

// What only the dynamic part of shared memory holds. y: (64)
extern "C" __global__ void __launch_bounds__(64) dynamic_shared(int* y) {
    DYNAMIC_SMEM(bytes);
    int* kept = reinterpret_cast<int*>(bytes);
    if (threadIdx.x != 7) kept[threadIdx.x] = threadIdx.x * 5;
    __syncthreads();
    y[threadIdx.x] = kept[63 - threadIdx.x];
}

// Matrix product of a block of 256 threads: a tile of TM x TN numbers, 16 x 16 threads.
//
//   thread (ty, tx) owns rows    ty * ROWS .. + ROWS - 1             ROWS = TM / 16, one run
//                   and columns  64 j + 4 tx .. + 3, j < COLUMNS/4   COLUMNS = TN / 16, runs of 4
//
// The factors lie in shared memory, reduction index first: a[TK][TM + 4], b[TK][TN + 4]. A step of the
// product reads ROWS + COLUMNS numbers for ROWS * COLUMNS multiplications. The runs of 4 columns are
// read as float4 without bank conflicts; rows are the same for half a warp.
#pragma once

template <int TM, int TN>
struct Tile {
    static constexpr int TK = 1024 / TM;  // so that 256 threads fetch a[TK][TM] as one float4 each
    static constexpr int ROWS = TM / 16, COLUMNS = TN / 16;
    static constexpr int B_THREADS = TK * TN / 4;  // that fetch a float4 of b[TK][TN]
    static_assert(B_THREADS <= 256, "a thread fetches at most one float4 of b");

    struct __align__(16) Factors {  // read as float4
        float a[TK][TM + 4], b[TK][TN + 4];
    };

    float sum[ROWS][COLUMNS];

    __device__ void clear() {
        for (int i = 0; i < ROWS; i++) {
            for (int j = 0; j < COLUMNS; j++) sum[i][j] = 0.f;
        }
    }

    static __device__ int row() { return threadIdx.x / 16 * ROWS; }
    static __device__ int column(int j) { return j / 4 * 64 + threadIdx.x % 16 * 4 + j % 4; }

    // Four numbers from shared memory to registers.
    static __device__ void take(float* to, const float* from) {
        const float4 four = *(const float4*)from;
        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
    }

    // sum += a^T b
    __device__ void multiply(const Factors& from) {
#pragma unroll
        for (int k = 0; k < TK; k++) {
            float a[ROWS], b[COLUMNS];
#pragma unroll
            for (int i = 0; i < ROWS; i += 4) take(&a[i], &from.a[k][row() + i]);
#pragma unroll
            for (int j = 0; j < COLUMNS; j += 4) take(&b[j], &from.b[k][column(j)]);
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
#pragma unroll
                for (int j = 0; j < COLUMNS; j++) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
            }
        }
    }
};

// Four numbers from `from`, those beyond `count` are 0. VECTOR: the pointer is aligned to 16 bytes and
// count is at least 4 or at most 0.
template <bool VECTOR>
__device__ __forceinline__ float4 fetch(const float* from, int64 count) {
    if (VECTOR) return count > 0 ? *(const float4*)from : make_float4(0.f, 0.f, 0.f, 0.f);
    float4 value = make_float4(0.f, 0.f, 0.f, 0.f);
    if (count > 0) value.x = from[0];
    if (count > 1) value.y = from[1];
    if (count > 2) value.z = from[2];
    if (count > 3) value.w = from[3];
    return value;
}

// Writes four numbers, those below `count`.
template <bool VECTOR>
__device__ __forceinline__ void put(float* to, int64 count, float4 value) {
    if (VECTOR) {
        if (count > 0) *(float4*)to = value;
        return;
    }
    if (count > 0) to[0] = value.x;
    if (count > 1) to[1] = value.y;
    if (count > 2) to[2] = value.z;
    if (count > 3) to[3] = value.w;
}

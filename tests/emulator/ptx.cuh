// The product's ptx.cuh on this processor: same names, the work is done by tensor.cpp.
#pragma once

// The launch says how many bytes there are.
#define DYNAMIC_SMEM(name) unsigned char* name = emulator_dynamic

// Copies 16 bytes to shared memory, or zeros if not `valid`; both addresses are multiples of 16.
inline void cp_async16(void* to, const void* from, bool valid = true) { emulator_copy_async(to, from, valid); }
// Closes a group of copies.
inline void cp_commit() { emulator_copy_commit(); }
// Waits until at most N groups are under way. Other threads need a barrier besides.
template <int N>
inline void cp_wait() { emulator_copy_wait(N); }

// Four 8x8 matrices of 16-bit elements; lane 8j + i gives the address of row i of matrix j.
inline void ldmatrix4(unsigned (&r)[4], const void* row, EMULATOR_HERE) {
    emulator_meet(LDMATRIX, ~0u, row, r, 0, 0, file, line);
}
inline void ldmatrix4t(unsigned (&r)[4], const void* row, EMULATOR_HERE) {
    emulator_meet(LDMATRIX_TRANSPOSED, ~0u, row, r, 0, 0, file, line);
}

inline void emulator_mma(EmulatorFunction function, float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                         const char* file, int line) {
    EmulatorMma in = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {d[0], d[1], d[2], d[3]}};
    emulator_meet(function, ~0u, &in, d, 0, 0, file, line);
}
// d (16, 8) += a (16, 16) b (16, 8)
inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMULATOR_HERE) {
    emulator_mma(MMA_BF16, d, a, b, file, line);
}
inline void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMULATOR_HERE) {
    emulator_mma(MMA_F16, d, a, b, file, line);
}
// d (16, 8) += a (16, 8) b (8, 8)
inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMULATOR_HERE) {
    emulator_mma(MMA_TF32, d, a, b, file, line);
}
// To nearest, ties away from zero. A NaN stays one.
inline unsigned to_tf32(float x) { return x != x ? 0x7fffffffu : (__float_as_uint(x) + 0x1000u) & 0xffffe000u; }

// Philox4x32-10: the same words as kernels/philox.py draws, wherever they are drawn.
#pragma once

#include "common.cuh"

// Word `lane` (0 to 3) for a counter of four words and a 64-bit key.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
__device__ unsigned philox(unsigned x0, unsigned x1, unsigned x2, unsigned x3, uint64 key, unsigned lane) {
    unsigned key0 = (unsigned)key, key1 = (unsigned)(key >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64 a = (uint64)0xD2511F53u * x0, b = (uint64)0xCD9E8D57u * x2;
        x0 = (unsigned)(b >> 32) ^ x1 ^ key0;
        x1 = (unsigned)b;
        x2 = (unsigned)(a >> 32) ^ x3 ^ key1;
        x3 = (unsigned)a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    // Not an array: an index that is not constant would put it into memory.
    return lane < 2 ? (lane == 0 ? x0 : x1) : (lane == 2 ? x2 : x3);
}

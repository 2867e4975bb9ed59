// Eight floats at a time, by GCC's vector extensions.
#pragma once

#include <cstdint>
#include <cstring>

using Size = int64_t;

typedef float Vector __attribute__((vector_size(32)));
typedef float Unaligned __attribute__((vector_size(32), aligned(4)));
typedef int Lanes __attribute__((vector_size(32)));

#define INLINE inline __attribute__((always_inline))

constexpr Size kWidth = 8;

INLINE Vector load(const float* from) { return *(const Unaligned*)from; }
INLINE void store(float* to, Vector value) { *(Unaligned*)to = value; }
// Not zero plus the value, which costs an addition: it is not the same for -0.
INLINE Vector all(float v) { return (Vector){v, v, v, v, v, v, v, v}; }

// All ones in the first `count` (0 to 8) lanes.
INLINE Lanes first_lanes(Size count) { return (Lanes){0, 1, 2, 3, 4, 5, 6, 7} < (int)count; }

// The first `count` (0 to 8) floats, zeros behind them; what is behind is not touched.
INLINE Vector load_some(const float* from, Size count) {
  return __builtin_ia32_maskloadps256((const Vector*)from, first_lanes(count));
}

INLINE void store_some(float* to, Vector value, Size count) {
  if (count == kWidth) return store(to, value);  // stores by a mask take many times as long
  __builtin_ia32_maskstoreps256((Vector*)to, first_lanes(count), value);
}

INLINE float sum_lanes(Vector v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

// The sums of the lanes of four vectors.
INLINE void sum_lanes_of_four(const Vector* v, float* to) {
  const Vector low = __builtin_ia32_haddps256(v[0], v[1]), high = __builtin_ia32_haddps256(v[2], v[3]);
  const Vector both = __builtin_ia32_haddps256(low, high);
  for (int i = 0; i < 4; i++) to[i] = both[i] + both[i + 4];
}

// An 8 x 8 transpose in registers.
INLINE void transpose(Vector* r) {
  Vector t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = __builtin_shuffle(r[i], r[i + 1], (Lanes){0, 8, 1, 9, 4, 12, 5, 13});
    t[i + 1] = __builtin_shuffle(r[i], r[i + 1], (Lanes){2, 10, 3, 11, 6, 14, 7, 15});
  }
  for (int h = 0; h < 8; h += 4) {
    u[h] = __builtin_shuffle(t[h], t[h + 2], (Lanes){0, 1, 8, 9, 4, 5, 12, 13});
    u[h + 1] = __builtin_shuffle(t[h], t[h + 2], (Lanes){2, 3, 10, 11, 6, 7, 14, 15});
    u[h + 2] = __builtin_shuffle(t[h + 1], t[h + 3], (Lanes){0, 1, 8, 9, 4, 5, 12, 13});
    u[h + 3] = __builtin_shuffle(t[h + 1], t[h + 3], (Lanes){2, 3, 10, 11, 6, 7, 14, 15});
  }
  for (int i = 0; i < 4; i++) {
    r[i] = __builtin_shuffle(u[i], u[i + 4], (Lanes){0, 1, 2, 3, 8, 9, 10, 11});
    r[i + 4] = __builtin_shuffle(u[i], u[i + 4], (Lanes){4, 5, 6, 7, 12, 13, 14, 15});
  }
}

// One row of `channels` (at most 8) planes that lie `plane` apart: columns of 8 channels, to (columns, 8).
INLINE void interleave(const float* from, Size plane, Size channels, float* to, Size columns) {
  Size j = 0;
  if (channels == kWidth) {
    for (; j + kWidth <= columns; j += kWidth) {
      Vector r[8];
      for (int c = 0; c < 8; c++) r[c] = load(from + c * plane + j);
      transpose(r);
      for (int c = 0; c < 8; c++) store(to + (j + c) * kWidth, r[c]);
    }
  }
  for (; j < columns; j++) {
    for (Size c = 0; c < kWidth; c++) to[j * kWidth + c] = c < channels ? from[c * plane + j] : 0.f;
  }
}

// The other way: (columns, 8) to a row of each of `channels` planes.
INLINE void separate(const float* from, float* to, Size plane, Size channels, Size columns) {
  Size j = 0;
  if (channels == kWidth) {
    for (; j + kWidth <= columns; j += kWidth) {
      Vector r[8];
      for (int c = 0; c < 8; c++) r[c] = load(from + (j + c) * kWidth);
      transpose(r);
      for (int c = 0; c < 8; c++) store(to + c * plane + j, r[c]);
    }
  }
  for (; j < columns; j++) {
    for (Size c = 0; c < channels; c++) to[c * plane + j] = from[j * kWidth + c];
  }
}

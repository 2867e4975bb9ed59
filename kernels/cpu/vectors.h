// Eight floats at a time, by GCC's vector extensions, and a product of matrices made of them.
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

// The first `count` (0 to 8) floats, zeros behind them.
INLINE Vector load_some(const float* from, Size count) {
  if (count == kWidth) return load(from);
  float some[kWidth] = {};
  std::memcpy(some, from, count * sizeof(float));
  return load(some);
}

INLINE void store_some(float* to, Vector value, Size count) {
  if (count == kWidth) return store(to, value);
  float some[kWidth];
  store(some, value);
  std::memcpy(to, some, count * sizeof(float));
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

// to (ROWS, 16) = or += a (ROWS, depth) times b (depth, 16). a: rows `row` apart, steps of the depth `step` apart.
template <int ROWS, bool ADD>
INLINE void multiply_rows(const float* a, Size row, Size step, const float* b, float* to, Size pitch, Size depth) {
  Vector low[ROWS], high[ROWS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++) {
    low[i] = ADD ? load(to + i * pitch) : (Vector){};
    high[i] = ADD ? load(to + i * pitch + kWidth) : (Vector){};
  }
  for (Size k = 0; k < depth; k++, a += step, b += 2 * kWidth) {
    const Vector b0 = load(b), b1 = load(b + kWidth);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) {
      const Vector value = all(a[i * row]);
      low[i] += value * b0;
      high[i] += value * b1;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++) {
    store(to + i * pitch, low[i]);
    store(to + i * pitch + kWidth, high[i]);
  }
}

// The same for any number of rows, six at a time: 12 sums, 2 factors and 1 number fill the 16 registers. Fewer than 4 rows
// are slow, so the last ones are shared out.
template <bool ADD>
INLINE void multiply(const float* a, Size row, Size step, const float* b, float* to, Size pitch, Size rows, Size depth) {
  Size i = 0;
  for (; i + 6 <= rows && rows - i != 8 && rows - i != 7; i += 6) {
    multiply_rows<6, ADD>(a + i * row, row, step, b, to + i * pitch, pitch, depth);
  }
  for (; i + 4 <= rows && rows - i != 5; i += 4) {
    multiply_rows<4, ADD>(a + i * row, row, step, b, to + i * pitch, pitch, depth);
  }
  a += i * row;
  to += i * pitch;
  switch (rows - i) {
    case 5: return multiply_rows<5, ADD>(a, row, step, b, to, pitch, depth);
    case 3: return multiply_rows<3, ADD>(a, row, step, b, to, pitch, depth);
    case 2: return multiply_rows<2, ADD>(a, row, step, b, to, pitch, depth);
    case 1: return multiply_rows<1, ADD>(a, row, step, b, to, pitch, depth);
  }
}

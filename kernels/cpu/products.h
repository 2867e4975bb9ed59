// Products of matrices: what fits the registers of AVX2, and loops over it.
#pragma once

#include "vectors.h"

// to (ROWS, 16) = or += a (ROWS, depth) times b (depth, 16). a: rows `row` apart, steps of the depth `step` apart; b: rows
// `b_row` apart. Each sum has the order of the depth, as that of a BLAS has, and is added to what is there when it is done.
template <int ROWS, bool ADD>
INLINE void multiply_rows(const float* a, Size row, Size step, const float* b, Size b_row, float* to, Size pitch,
                          Size depth) {
  Vector low[ROWS], high[ROWS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++) {
    low[i] = high[i] = (Vector){};
  }
  for (Size k = 0; k < depth; k++, a += step, b += b_row) {
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
    float* out = to + i * pitch;
    store(out, ADD ? load(out) + low[i] : low[i]);
    store(out + kWidth, ADD ? load(out + kWidth) + high[i] : high[i]);
  }
}

// The same for any number of rows, six at a time: 12 sums, 2 factors and 1 number fill the 16 registers. Fewer than 4 rows
// are slow, so the last ones are shared out.
template <bool ADD>
INLINE void multiply(const float* a, Size row, Size step, const float* b, Size b_row, float* to, Size pitch, Size rows,
                     Size depth) {
  Size i = 0;
  for (; i + 6 <= rows && rows - i != 8 && rows - i != 7; i += 6) {
    multiply_rows<6, ADD>(a + i * row, row, step, b, b_row, to + i * pitch, pitch, depth);
  }
  for (; i + 4 <= rows && rows - i != 5; i += 4) {
    multiply_rows<4, ADD>(a + i * row, row, step, b, b_row, to + i * pitch, pitch, depth);
  }
  a += i * row;
  to += i * pitch;
  switch (rows - i) {
    case 5: return multiply_rows<5, ADD>(a, row, step, b, b_row, to, pitch, depth);
    case 3: return multiply_rows<3, ADD>(a, row, step, b, b_row, to, pitch, depth);
    case 2: return multiply_rows<2, ADD>(a, row, step, b, b_row, to, pitch, depth);
    case 1: return multiply_rows<1, ADD>(a, row, step, b, b_row, to, pitch, depth);
  }
}

// to (X, W) = or += products of X rows of x and W rows of w over `depth` columns. With `fetch` the W rows behind are
// fetched meanwhile: pieces of rows are too short for the processor to see where they go on.
template <int X, int W>
INLINE void dots(const float* x, Size x_pitch, const float* w, Size pitch, Size depth, float* to, Size to_pitch, bool add,
                 bool fetch) {
  Vector sums[X][W] = {};
  Size j = 0;
  for (; j + kWidth <= depth; j += kWidth) {
    Vector some[X];
    for (int i = 0; i < X; i++) some[i] = load(x + i * x_pitch + j);
#pragma GCC unroll 4
    for (int k = 0; k < W; k++) {
      if (fetch) __builtin_prefetch(w + (W + k) * pitch + j, 0, 2);
      const Vector value = load(w + k * pitch + j);
#pragma GCC unroll 3
      for (int i = 0; i < X; i++) sums[i][k] += value * some[i];
    }
  }
  if (j < depth) {
    Vector some[X];
    for (int i = 0; i < X; i++) some[i] = load_some(x + i * x_pitch + j, depth - j);
#pragma GCC unroll 4
    for (int k = 0; k < W; k++) {
      const Vector value = load_some(w + k * pitch + j, depth - j);
#pragma GCC unroll 3
      for (int i = 0; i < X; i++) sums[i][k] += value * some[i];
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < X; i++) {
    float found[W];
    if (W == 4) sum_lanes_of_four(sums[i], found);
    else for (int k = 0; k < W; k++) found[k] = sum_lanes(sums[i][k]);
    for (int k = 0; k < W; k++) to[i * to_pitch + k] = add ? to[i * to_pitch + k] + found[k] : found[k];
  }
}

// For `rows` rows of x; one or two are slow, so the last ones are shared out.
template <int W>
INLINE void dots_of_all(const float* x, Size x_pitch, Size rows, const float* w, Size pitch, Size depth, float* to,
                        Size to_pitch, bool add) {
  Size i = 0;
  for (; i + 3 <= rows && rows - i != 4; i += 3) {
    dots<3, W>(x + i * x_pitch, x_pitch, w, pitch, depth, to + i * to_pitch, to_pitch, add, i == 0);
  }
  for (; i + 2 <= rows; i += 2) {
    dots<2, W>(x + i * x_pitch, x_pitch, w, pitch, depth, to + i * to_pitch, to_pitch, add, i == 0);
  }
  if (i < rows) dots<1, W>(x + i * x_pitch, x_pitch, w, pitch, depth, to + i * to_pitch, to_pitch, add, i == 0);
}

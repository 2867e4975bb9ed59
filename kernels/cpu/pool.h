// Max-pooling over 2 x 2 windows that cover the plane without a rest, by itself and behind a convolution.
//
// Row-major, strict >: the first of equals wins, NaN never does, as in pooling over any window.
#pragma once

#include <omp.h>

#include <algorithm>

#include "vectors.h"

namespace pool {

constexpr float kLowest = -3.402823466e+38f;

INLINE Lanes bits(Vector v) { return (Lanes)v; }
INLINE unsigned mask(Lanes lanes) { return __builtin_ia32_movmskps256((Vector)lanes); }

// The largest of four, lane by lane; `low` and `high` are the two bits of which it is, all ones or zeros.
INLINE Vector largest(const Vector* four, Lanes& low, Lanes& high) {
  Vector best = all(kLowest);
  low = high = (Lanes){};
  for (int i = 0; i < 4; i++) {
    const Lanes more = four[i] > best;
    best = more ? four[i] : best;
    low = i & 1 ? low | more : low & ~more;
    high = i & 2 ? high | more : high & ~more;
  }
  return best;
}

// The same of 8 windows: line is two vectors of the upper row and two of the lower.
INLINE Vector largest_of_windows(const Vector* line, Lanes& low, Lanes& high) {
  const Lanes even = {0, 2, 4, 6, 8, 10, 12, 14}, odd = {1, 3, 5, 7, 9, 11, 13, 15};
  const Vector four[4] = {
      __builtin_shuffle(line[0], line[1], even), __builtin_shuffle(line[0], line[1], odd),
      __builtin_shuffle(line[2], line[3], even), __builtin_shuffle(line[2], line[3], odd)};
  return largest(four, low, high);
}

// 8 bits to every other of 16.
INLINE unsigned spread(unsigned x) {
  x = (x | x << 4) & 0x0f0f;
  x = (x | x << 2) & 0x3333;
  return (x | x << 1) & 0x5555;
}

typedef float Half __attribute__((vector_size(16)));
typedef double Doubles __attribute__((vector_size(32)));
INLINE Half lower(Vector v) { return (Half){v[0], v[1], v[2], v[3]}; }
INLINE Half upper(Vector v) { return (Half){v[4], v[5], v[6], v[7]}; }

// What 8 channels keep of where their maxima are: 2 bits each.
INLINE unsigned code(Lanes low, Lanes high) { return spread(mask(low)) | spread(mask(high)) << 1; }

INLINE void put_code(unsigned char* to, unsigned code, Size channels) {
  to[0] = (unsigned char)code;
  if (channels > 4) to[1] = (unsigned char)(code >> 8);
}

INLINE Size code_bytes(Size k) { return (k + 3) / 4; }

// x (planes,h,w) to y and argmax (planes,h/2,w/2); argmax is the place in the plane, -1 if there is none.
inline void forward(const float* x, float* y, int32_t* argmax, Size planes, Size h, Size w) {
  const Size q = w / 2;
#pragma omp parallel for collapse(2) schedule(static)
  for (Size plane = 0; plane < planes; plane++) {
    for (Size row = 0; row < h / 2; row++) {
      const float* from = x + (plane * h + 2 * row) * w;
      float* to = y + (plane * (h / 2) + row) * q;
      int32_t* place = argmax + (plane * (h / 2) + row) * q;
      const int32_t first = (int32_t)(2 * row * w);
      for (Size j = 0; j < q; j += kWidth) {
        const Size some = std::min(kWidth, q - j);
        Vector line[4];
        for (int i = 0; i < 4; i++) {
          const Size at = i / 2 * w + 2 * j + i % 2 * kWidth;
          const Size here = std::max<Size>(0, std::min(kWidth, 2 * some - i % 2 * kWidth));
          line[i] = here == kWidth ? load(from + at) : load_some(from + (here ? at : 0), here);
        }
        Lanes low, high;
        const Vector best = largest_of_windows(line, low, high);
        const Lanes column = 2 * (Lanes){0, 1, 2, 3, 4, 5, 6, 7} + (int)(2 * j) + first;
        const Lanes found = best > kLowest;
        const Lanes which = (column + (low & 1) + (high & (int)w)) | ~found;
        if (some == kWidth) {
          store(to + j, best);
          std::memcpy(place + j, &which, sizeof which);
        } else {
          store_some(to + j, best, some);
          std::memcpy(place + j, &which, some * sizeof(int32_t));
        }
      }
    }
  }
}

// dy and argmax (planes,h/2,w/2) to dx (planes,h,w), assigned.
inline void backward(const float* dy, const int32_t* argmax, float* dx, Size planes, Size h, Size w) {
  const Size q = w / 2;
#pragma omp parallel for collapse(2) schedule(static)
  for (Size plane = 0; plane < planes; plane++) {
    for (Size row = 0; row < h / 2; row++) {
      const float* from = dy + (plane * (h / 2) + row) * q;
      const int32_t* place = argmax + (plane * (h / 2) + row) * q;
      float* to = dx + (plane * h + 2 * row) * w;
      const int32_t first = (int32_t)(2 * row * w);
      for (Size j = 0; j < q; j += kWidth) {
        const Size some = std::min(kWidth, q - j);
        const Vector value = load_some(from + j, some);
        Lanes which = {};
        std::memcpy(&which, place + j, some * sizeof(int32_t));
        const Lanes column = 2 * (Lanes){0, 1, 2, 3, 4, 5, 6, 7} + (int)(2 * j) + first;
        const Lanes front = {0, 8, 1, 9, 2, 10, 3, 11}, back = {4, 12, 5, 13, 6, 14, 7, 15};
        for (int i = 0; i < 2; i++) {
          const Lanes here = column + (int)(i * w);
          const Vector left = (Vector)((Lanes)value & (which == here));
          const Vector right = (Vector)((Lanes)value & (which == here + 1));
          float pair[2 * kWidth];
          store(pair, __builtin_shuffle(left, right, front));
          store(pair + kWidth, __builtin_shuffle(left, right, back));
          std::memcpy(to + i * w + 2 * j, pair, 2 * some * sizeof(float));
        }
      }
    }
  }
}

// Back through pooling, ReLU and bias: each window's gradient goes to its largest, if that was above 0.
// y dy (n,k,p/2,q/2)  codes (n,p/2,q/2,ceil(k/4))  dx (n,k,p,q)  db (k) +=, or null.
inline void relu_bias_backward(const float* y, const unsigned char* codes, const float* dy, float* dx, float* db, Size n,
                               Size k, Size p, Size q) {
  const Size rows = p / 2, columns = q / 2, plane = rows * columns;
#pragma omp parallel for schedule(static)
  for (Size block = 0; block < (k + kWidth - 1) / kWidth; block++) {
    const Size some = std::min(kWidth, k - block * kWidth);
    double sums[kWidth] = {};
    for (Size image = 0; image < n; image++) {
      for (Size row = 0; row < rows; row++) {
        const Size first = (image * k + block * kWidth) * plane + row * columns;
        Doubles low = {}, high = {};  // in double, as the bias' gradient by itself is
        for (Size j = 0; j < columns; j += kWidth) {  // 8 columns of 8 channels
          const Size here = std::min(kWidth, columns - j);
          Vector value[kWidth], above[kWidth];
          for (Size c = 0; c < kWidth; c++) {
            value[c] = c < some ? load_some(dy + first + c * plane + j, here) : (Vector){};
            above[c] = c < some ? load_some(y + first + c * plane + j, here) : (Vector){};
            value[c] = (Vector)((Lanes)value[c] & (above[c] > 0.f));
          }
          transpose(value);  // now a vector holds the channels of a column
          Vector four[4][kWidth];
          for (Size i = 0; i < kWidth; i++) {
            unsigned bits = 0;
            if (i < here) {
              const unsigned char* from = codes + ((image * rows + row) * columns + j + i) * code_bytes(k) + 2 * block;
              bits = from[0] | (some > 4 ? from[1] << 8 : 0);
            }
            const Lanes shifts = {0, 2, 4, 6, 8, 10, 12, 14};
            const Lanes which = ((Lanes){} + (int)bits) >> shifts & 3;
            for (int place = 0; place < 4; place++) four[place][i] = (Vector)((Lanes)value[i] & (which == place));
            low += __builtin_convertvector(lower(value[i]), Doubles);
            high += __builtin_convertvector(upper(value[i]), Doubles);
          }
          for (int place = 0; place < 4; place++) transpose(four[place]);
          for (Size c = 0; c < some; c++) {
            float* to = dx + ((image * k + block * kWidth + c) * p + 2 * row) * q + 2 * j;
            const Lanes front = {0, 8, 1, 9, 2, 10, 3, 11}, back = {4, 12, 5, 13, 6, 14, 7, 15};
            for (int i = 0; i < 2; i++) {
              float pair[2 * kWidth];
              store(pair, __builtin_shuffle(four[2 * i][c], four[2 * i + 1][c], front));
              store(pair + kWidth, __builtin_shuffle(four[2 * i][c], four[2 * i + 1][c], back));
              std::memcpy(to + i * q, pair, 2 * here * sizeof(float));
            }
          }
        }
        for (Size c = 0; c < 4; c++) sums[c] += low[c], sums[c + 4] += high[c];
      }
    }
    for (Size c = 0; db && c < some; c++) db[block * kWidth + c] += (float)sums[c];
  }
}

}  // namespace pool

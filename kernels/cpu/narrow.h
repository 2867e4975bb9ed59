// 3x3 convolution of stride 1 with few input channels, as a net's first layer has it: the sum of its products, no
// transform. The image is copied once into rows with their padding, so that nothing is tested inside.
#pragma once

#include <omp.h>

#include <algorithm>

#include "pool.h"
#include "vectors.h"

namespace narrow {

constexpr Size kOutputs = 4;  // channels of y at a time: 8 sums, 2 pieces of x and a weight fit the registers
constexpr Size kRows = 8;     // of dy: sums over more would lose digits in float32
constexpr Size kParts = 8;    // sums of the weights' gradient that are made side by side

// x (n,c,h,w) to y (n,k,p,q), p = h + 2 pad_h - 2.
struct Problem {
  Size n, c, h, w, k, p, q, pad_h, pad_w;

  Size columns() const { return (q + 15) / 16 * 16; }           // of y, rounded up
  Size pitch() const { return columns() + 2 + kWidth; }         // of a padded row
  Size plane() const { return (p + 2) * pitch(); }              // of a padded image
  Size parts() const { return std::min(kParts, n); }
  Size padded() const { return n * c * plane(); }
  Size sums() const { return parts() * k * c * 9; }
  Size lines() const { return 2 * kOutputs * columns(); }  // of a thread
  Size window() const { return c * 4 * pitch(); }                 // of a thread: the rows that two of y see
  Size own() const { return window() + lines(); }
  Size workspace(Size threads) const { return std::max(padded() + sums(), threads * own()); }
  // Threads that find room: a workspace may have been made for fewer than there are now.
  int threads(Size size) const { return (int)std::clamp<Size>(size / own(), 1, omp_get_max_threads()); }
};

// One row of a plane with its padding: `row` counts from the padding above.
inline void pad_row(const Problem& g, const float* plane, Size row, float* to) {
  const Size from = row - g.pad_h, some = std::min(g.w, g.pitch() - g.pad_w);
  if (from < 0 || from >= g.h) {
    std::fill(to, to + g.pitch(), 0.f);
    return;
  }
  std::fill(to, to + g.pad_w, 0.f);
  std::copy_n(plane + from * g.w, some, to + g.pad_w);
  std::fill(to + g.pad_w + some, to + g.pitch(), 0.f);
}

// x with its padding: (n, c, p + 2, pitch), zeros on all sides.
inline void pad(const Problem& g, const float* x, float* to) {
#pragma omp for collapse(2) schedule(static)
  for (Size plane = 0; plane < g.n * g.c; plane++) {
    for (Size row = 0; row < g.p + 2; row++) {
      pad_row(g, x + plane * g.h * g.w, row, to + plane * g.plane() + row * g.pitch());
    }
  }
}

// The rows that two rows of y see, the first of them `row`: (c, 4, pitch).
inline void pad_window(const Problem& g, const float* image, Size row, float* to) {
  for (Size c = 0; c < g.c; c++) {
    for (Size i = 0; i < 4; i++) pad_row(g, image + c * g.h * g.w, row + i, to + (c * 4 + i) * g.pitch());
  }
}

// One row of up to COUNT channels of y, whose planes lie `plane` apart. x: its first row in a window (c, 4, pitch).
template <int COUNT>
INLINE void row_forward(const Problem& g, const float* x, const float* w, const float* bias, bool relu, float slope,
                        float* y, Size plane) {
  for (Size j = 0; j < g.q; j += 16) {
    Vector low[COUNT], high[COUNT];
    for (int i = 0; i < COUNT; i++) low[i] = high[i] = all(bias ? bias[i] : 0.f);
    for (Size c = 0; c < g.c; c++) {
      for (int r = 0; r < 3; r++) {
        const float* from = x + (c * 4 + r) * g.pitch() + j;
#pragma GCC unroll 1  // else the compiler mixes the taps and has too few registers
        for (int s = 0; s < 3; s++) {
          const Vector x0 = load(from + s), x1 = load(from + s + kWidth);
#pragma GCC unroll 4
          for (int i = 0; i < COUNT; i++) {
            const Vector value = all(w[(i * g.c + c) * 9 + r * 3 + s]);
            low[i] += value * x0;
            high[i] += value * x1;
          }
        }
      }
    }
    for (int i = 0; i < COUNT; i++) {
      if (relu) {
        low[i] = low[i] > 0.f ? low[i] : slope * low[i];
        high[i] = high[i] > 0.f ? high[i] : slope * high[i];
      }
      float* to = y + i * plane + j;
      const Size left = g.q - j;
      if (left >= 16) {
        store(to, low[i]);
        store(to + kWidth, high[i]);
      } else {
        store_some(to, low[i], std::min(left, kWidth));
        if (left > kWidth) store_some(to + kWidth, high[i], left - kWidth);
      }
    }
  }
}

INLINE void some_rows(const Problem& g, Size some, const float* x, const float* w, const float* bias, bool relu,
                      float slope, float* y, Size plane) {
  switch (some) {
    case 4: return row_forward<4>(g, x, w, bias, relu, slope, y, plane);
    case 3: return row_forward<3>(g, x, w, bias, relu, slope, y, plane);
    case 2: return row_forward<2>(g, x, w, bias, relu, slope, y, plane);
    default: return row_forward<1>(g, x, w, bias, relu, slope, y, plane);
  }
}

inline void forward(const Problem& g, const float* x, const float* w, const float* bias, float* y, bool relu,
                    float slope, float* workspace, Size size) {
#pragma omp parallel num_threads(g.threads(size))
  {
    float* window = workspace + omp_get_thread_num() * g.own();
#pragma omp for collapse(2) schedule(static)
    for (Size image = 0; image < g.n; image++) {
      for (Size row = 0; row < g.p; row += 2) {
        pad_window(g, x + image * g.c * g.h * g.w, row, window);
        for (Size k = 0; k < g.k; k += kOutputs) {
          const float *weights = w + k * g.c * 9, *b = bias ? bias + k : nullptr;
          for (Size i = 0; i < std::min<Size>(2, g.p - row); i++) {
            float* to = y + ((image * g.k + k) * g.p + row + i) * g.q;
            some_rows(g, std::min(kOutputs, g.k - k), window + i * g.pitch(), weights, b, relu, slope, to, g.p * g.q);
          }
        }
      }
    }
  }
}

// The same through relu and 2 x 2 max-pooling: y (n,k,p/2,q/2)  codes (n,p/2,q/2,ceil(k/4)), a byte for 4 channels.
inline void pool_forward(const Problem& g, const float* x, const float* w, const float* bias, float* y,
                         unsigned char* codes, float* workspace, Size size) {
  const Size rows = g.p / 2, columns = g.q / 2, pitch = g.columns();
#pragma omp parallel num_threads(g.threads(size))
  {
    float *window = workspace + omp_get_thread_num() * g.own(), *lines = window + g.window();  // (2, 4 channels, pitch)
#pragma omp for collapse(2) schedule(static)
    for (Size image = 0; image < g.n; image++) {
      for (Size row = 0; row < rows; row++) {
        pad_window(g, x + image * g.c * g.h * g.w, 2 * row, window);
        for (Size k = 0; k < g.k; k += kOutputs) {
          const Size some = std::min(kOutputs, g.k - k);
          for (Size i = 0; i < 2; i++) {
            some_rows(g, some, window + i * g.pitch(), w + k * g.c * 9, bias ? bias + k : nullptr, true, 0.f,
                      lines + i * kOutputs * pitch, pitch);
          }
          unsigned char* code = codes + (image * rows + row) * columns * pool::code_bytes(g.k) + k / kOutputs;
          for (Size j = 0; j < columns; j += kWidth) {
            const Size here = std::min(kWidth, columns - j);
            Lanes places = {};
            for (Size c = 0; c < some; c++) {
              const float *upper = lines + c * pitch + 2 * j, *lower = upper + kOutputs * pitch;
              const Vector line[4] = {load(upper), load(upper + kWidth), load(lower), load(lower + kWidth)};
              Lanes low, high;
              const Vector best = pool::largest_of_windows(line, low, high);
              places |= ((low & 1) | (high & 2)) << (int)(2 * c);
              store_some(y + ((image * g.k + k + c) * rows + row) * columns + j, best, here);
            }
            for (Size i = 0; i < here; i++) code[(j + i) * pool::code_bytes(g.k)] = (unsigned char)places[i];
          }
        }
      }
    }
  }
}

// sums (COUNT, c, 3, 3) += those of one image.
template <int COUNT>
INLINE void image_backward(const Problem& g, const float* x, const float* dy, float* sums) {
  const Size whole = g.q / kWidth * kWidth, rest = g.q - whole;
  for (Size c = 0; c < g.c; c++) {
    for (int r = 0; r < 3; r++) {
      double total[COUNT][3] = {};
      for (Size first = 0; first < g.p; first += kRows) {
        Vector sum[COUNT][3] = {};
        for (Size row = first; row < std::min(first + kRows, g.p); row++) {
          const float *from = x + c * g.plane() + (row + r) * g.pitch(), *d = dy + row * g.q;
          for (Size j = 0; j < whole; j += kWidth) {
            const Vector x0 = load(from + j), x1 = load(from + j + 1), x2 = load(from + j + 2);
#pragma GCC unroll 4
            for (int i = 0; i < COUNT; i++) {
              const Vector value = load(d + i * g.p * g.q + j);
              sum[i][0] += value * x0;
              sum[i][1] += value * x1;
              sum[i][2] += value * x2;
            }
          }
          for (int i = 0; rest && i < COUNT; i++) {
            const Vector value = load_some(d + i * g.p * g.q + whole, rest);
            for (int s = 0; s < 3; s++) sum[i][s] += value * load(from + whole + s);
          }
        }
        for (int i = 0; i < COUNT; i++) {
          for (int s = 0; s < 3; s++) total[i][s] += sum_lanes(sum[i][s]);
        }
      }
      for (int i = 0; i < COUNT; i++) {
        for (int s = 0; s < 3; s++) sums[(i * g.c + c) * 9 + r * 3 + s] += (float)total[i][s];
      }
    }
  }
}

// dw (k,c,3,3) += the gradient: images in parts that depend on their number alone, the parts' sums in their order.
inline void backward_weights(const Problem& g, const float* x, const float* dy, float* dw, float* workspace) {
  float* sums = workspace + g.padded();
#pragma omp parallel
  {
    pad(g, x, workspace);
#pragma omp for collapse(2) schedule(static)
    for (Size part = 0; part < g.parts(); part++) {
      for (Size block = 0; block < (g.k + kOutputs - 1) / kOutputs; block++) {
        const Size k = block * kOutputs, some = std::min(kOutputs, g.k - k);
        float* own = sums + (part * g.k + k) * g.c * 9;
        std::fill(own, own + some * g.c * 9, 0.f);
        for (Size image = g.n * part / g.parts(); image < g.n * (part + 1) / g.parts(); image++) {
          const float *from = workspace + image * g.c * g.plane(), *d = dy + (image * g.k + k) * g.p * g.q;
          switch (some) {
            case 4: image_backward<4>(g, from, d, own); break;
            case 3: image_backward<3>(g, from, d, own); break;
            case 2: image_backward<2>(g, from, d, own); break;
            default: image_backward<1>(g, from, d, own);
          }
        }
      }
    }
#pragma omp for schedule(static)
    for (Size i = 0; i < g.k * g.c * 9; i++) {
      float sum = 0;
      for (Size part = 0; part < g.parts(); part++) sum += sums[part * g.k * g.c * 9 + i];
      dw[i] += sum;
    }
  }
}

}  // namespace narrow

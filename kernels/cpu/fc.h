// Fully connected layers: products of matrices in which the weights are read once for up to 64 images. Forward goes along
// their rows; the ways back pack panels of 16 columns.
#pragma once

#include <omp.h>

#include <algorithm>

#include "products.h"

namespace fc {

constexpr Size kDots = 512;                // columns of x and w at a time: pieces of 2 KiB
constexpr Size kPanel = 16, kDepth = 256;  // a packed piece of the weights, 16 KiB, stays in L1
constexpr Size kPacked = 32768;            // floats of the pieces that are packed side by side: half of L2
constexpr Size kRows = 64;                 // rows of the other factor that are packed with them
constexpr Size kPitch = kDepth + kWidth;   // of those rows: no power of 2, so that they do not meet in one set of L1

// w (n, k, c): x (n,c)  w (k,c)  y (n,k).
struct Problem {
  Size n, c, k;
};

// The range of panels that this thread has.
INLINE void share(Size panels, Size& first, Size& last) {
  const Size thread = omp_get_thread_num(), threads = omp_get_num_threads();
  first = panels * thread / threads;
  last = panels * (thread + 1) / threads;
}

// to (rows, 16) = or += a b, through a place of its own where fewer than 16 columns are left.
INLINE void product(bool add, const float* a, Size row, Size step, const float* b, float* to, Size pitch, Size rows,
                    Size depth, Size columns) {
  if (columns >= kPanel) {
    if (add) multiply<true>(a, row, step, b, kPanel, to, pitch, rows, depth);
    else multiply<false>(a, row, step, b, kPanel, to, pitch, rows, depth);
    return;
  }
  for (Size i = 0; i < rows; i++) {
    float sums[kPanel];
    multiply_rows<1, false>(a + i * row, row, step, b, kPanel, sums, kPanel, depth);
    for (Size j = 0; j < columns; j++) to[i * pitch + j] = add ? to[i * pitch + j] + sums[j] : sums[j];
  }
}

// `rows` rows of a, `some` columns: to (rows, kPitch).
INLINE void pack_rows(const float* a, Size pitch, Size rows, Size some, float* to) {
  for (Size i = 0; i < rows; i++) std::copy_n(a + i * pitch, some, to + i * kPitch);
}

// `some` rows of a piece of `panels` panels of 16 columns from `column` on: to (panels, some, 16).
INLINE void pack_panels(const float* from, Size pitch, Size some, Size column, Size columns, Size panels, float* to) {
  for (Size i = 0; i < some; i++) {
    for (Size panel = 0; panel < panels; panel++) {
      const Size c = column + panel * kPanel, here = std::min(kPanel, columns - c);
      const float* row = from + i * pitch + c;
      float* out = to + (panel * some + i) * kPanel;
      if (here == kPanel) {
        store(out, load(row));
        store(out + kWidth, load(row + kWidth));
      } else {
        for (Size j = 0; j < kPanel; j++) out[j] = j < here ? row[j] : 0.f;
      }
    }
  }
}

// y = x w^T + b
inline void forward(const Problem& g, const float* x, const float* w, const float* bias, float* y) {
#pragma omp parallel
  {
    Size first, last;
    share((g.k + kPanel - 1) / kPanel, first, last);
    const Size begin = first * kPanel, end = std::min(last * kPanel, g.k);
    for (Size c = 0; c < g.c; c += kDots) {
      const Size some = std::min(kDots, g.c - c);
      Size k = begin;
      for (; k + 4 <= end; k += 4) {
        dots_of_all<4>(x + c, g.c, g.n, w + k * g.c + c, g.c, some, y + k, g.k, c > 0);
      }
      for (; k < end; k++) dots_of_all<1>(x + c, g.c, g.n, w + k * g.c + c, g.c, some, y + k, g.k, c > 0);
    }
    for (Size i = 0; bias && i < g.n; i++) {
      for (Size k = begin; k < end; k++) y[i * g.k + k] += bias[k];
    }
  }
}

// dx = dy w
inline void backward_data(const Problem& g, const float* w, const float* dy, float* dx) {
#pragma omp parallel
  {
    alignas(32) float a[kRows * kPitch], b[kPacked];
    const Size step = 64;  // rows of w at a time: pieces of 2 KiB, so that few pages are touched
    Size first, last;
    share((g.c + kPanel - 1) / kPanel, first, last);
    for (Size top = 0; top < g.n; top += kRows) {
      const Size rows = std::min(kRows, g.n - top), width = kPacked / (step * kPanel);
      for (Size group = first; group < last; group += width) {
        const Size panels = std::min(width, last - group);
        for (Size depth = 0; depth < g.k; depth += step) {
          const Size some = std::min(step, g.k - depth);
          pack_rows(dy + top * g.k + depth, g.k, rows, some, a);
          pack_panels(w + depth * g.c, g.c, some, group * kPanel, g.c, panels, b);
          for (Size panel = 0; panel < panels; panel++) {
            const Size c = (group + panel) * kPanel;
            const float *piece = b + panel * some * kPanel, *next = w + (depth + some) * g.c + c;
            for (Size i = 0; top == 0 && i < some; i++) __builtin_prefetch(next + i * g.c, 0, 2);
            product(depth > 0, a, kPitch, 1, piece, dx + top * g.c + c, g.c, rows, some, g.c - c);
          }
        }
      }
    }
  }
}

// dw += dy^T x, by pieces of x that each thread keeps to.
inline void backward_weights(const Problem& g, const float* x, const float* dy, float* dw) {
#pragma omp parallel
  {
    alignas(32) float b[kPacked];
    Size first, last;
    share((g.c + kPanel - 1) / kPanel, first, last);
    for (Size depth = 0; depth < g.n; depth += kDepth) {
      const Size some = std::min(kDepth, g.n - depth), width = std::min<Size>(64, kPacked / (some * kPanel));
      for (Size group = first; group < last; group += width) {
        const Size panels = std::min(width, last - group);
        pack_panels(x + depth * g.c, g.c, some, group * kPanel, g.c, panels, b);
        for (Size k = 0; k < g.k; k += 6) {
          for (Size panel = 0; panel < panels; panel++) {
            const Size c = (group + panel) * kPanel;
            product(true, dy + depth * g.k + k, 1, g.k, b + panel * some * kPanel, dw + k * g.c + c, g.c,
                    std::min<Size>(6, g.k - k), some, g.c - c);
          }
        }
      }
    }
  }
}

}  // namespace fc

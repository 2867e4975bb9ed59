// 3x3 convolution of stride 1 by Winograd's minimal filtering: tiles of 4x4 outputs from 6x6 inputs by 36
// products instead of 144.
//
// Points 0, 1, -1, 2, -1/2 and infinity: the transform of the data is exact in binary but for its sums, and the
// largest error is a third of that of the usual points 0, +-1, +-2. Forward and backward-data are F(4x4, 3x3);
// the gradient of the weights is F(3x3, 4x4), the same transform of the data with another of dy.
// Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; the matrices follow
// from the points by Toom and Cook's construction.
//
// Tiles are handled in blocks of whole rows of tiles. For a block the data is transformed to v (36, tiles, c),
// multiplied by the transformed weights u (36, k/16, c, 16) to m (36, tiles, k), and transformed back. c is
// rounded up to 8 channels, k to 16, with zeros. What a thread does changes no sum: results are the same for any
// number of threads.
#pragma once

#include <omp.h>

#include <algorithm>

#include "pool.h"
#include "vectors.h"

namespace winograd {

// d (6) to B^T d (6), each element `step` vectors from the next.
INLINE void transform_data(const Vector* d, int step, Vector* to, int to_step) {
  const Vector d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  const Vector p = d4 - d2, q = d3 - d1;
  to[0] = (d0 - d2) + p - 1.5f * q;
  to[to_step] = d4 - (2.5f * d2 + 0.5f * d3 + d1);
  to[2 * to_step] = d4 + (0.5f * d2 - 2.5f * d3 + d1);
  to[3 * to_step] = p + 0.5f * q;
  to[4 * to_step] = p - 2.f * q;
  to[5 * to_step] = (d5 - d3) - q - 1.5f * p;
}

// w (3) to G w (6)
INLINE void transform_weights(const Vector* w, int step, Vector* to, int to_step) {
  const Vector w0 = w[0], w1 = w[step], w2 = w[2 * step];
  const Vector even = (w0 + w2) * (1.f / 3), odd = w1 * (1.f / 3);
  to[0] = w0;
  to[to_step] = -(even + odd);
  to[2 * to_step] = even - odd;
  to[3 * to_step] = (w0 + 2.f * w1 + 4.f * w2) * (1.f / 15);
  to[4 * to_step] = (0.5f * w1 - w0 - 0.25f * w2) * (16.f / 15);
  to[5 * to_step] = w2;
}

// m (6) to A^T m (4)
INLINE void transform_back(const Vector* m, int step, Vector* to, int to_step) {
  const Vector m3 = m[3 * step], m4 = m[4 * step];
  const Vector even = m[step] + m[2 * step], odd = m[step] - m[2 * step];
  to[0] = m[0] + even + (m3 + m4);
  to[to_step] = odd + 2.f * m3 - 0.5f * m4;
  to[2 * to_step] = even + 4.f * m3 + 0.25f * m4;
  to[3 * to_step] = odd + 8.f * m3 - 0.125f * m4 + m[5 * step];
}

// dy (4) to the 6 that meet the data's in the gradient of the weights
INLINE void transform_diff(const Vector* y, int step, Vector* to, int to_step) {
  const Vector y0 = y[0], y1 = y[step], y2 = y[2 * step], y3 = y[3 * step];
  const Vector even = (y0 + y2) * (1.f / 3), odd = (y1 + y3) * (1.f / 3);
  to[0] = y0;
  to[to_step] = -(even + odd);
  to[2 * to_step] = even - odd;
  to[3 * to_step] = (y0 + 2.f * y1 + 4.f * y2 + 8.f * y3) * (1.f / 15);
  to[4 * to_step] = (0.5f * y1 - y0 - 0.25f * y2 + 0.125f * y3) * (16.f / 15);
  to[5 * to_step] = y3;
}

// m (6) to the 3 of the gradient of the weights
INLINE void transform_gradient(const Vector* m, int step, Vector* to, int to_step) {
  const Vector m3 = m[3 * step], m4 = m[4 * step];
  const Vector even = m[step] + m[2 * step], odd = m[step] - m[2 * step];
  to[0] = m[0] + even + (m3 + m4);
  to[to_step] = odd + 2.f * m3 - 0.5f * m4;
  to[2 * to_step] = even + 4.f * m3 + 0.25f * m4 + m[5 * step];
}

constexpr Size kPoints = 36, kPanel = 16, kDepth = 256;  // depth: of one product, so that its factors stay in L1
constexpr Size kBlockBytes = 4 << 20;                    // of v and m of a block: about what the caches hold

inline Size round_up(Size value, Size to) { return (value + to - 1) / to * to; }

// x (n,c,h,w) to y (n,k,p,q), p = h + 2 pad_h - 2.
struct Problem {
  Size n, c, h, w, k, p, q, pad_h, pad_w;

  Size tile_rows() const { return (p + 3) / 4; }
  Size tile_columns() const { return (q + 3) / 4; }
  Size rows() const { return n * tile_rows(); }  // rows of tiles of all images
  Size channels() const { return round_up(c, kWidth); }
  Size outputs() const { return round_up(k, kPanel); }
  Size row_floats() const { return (4 * tile_columns() + 2) * kWidth * 6; }  // a thread's row of tiles

  // Rows of tiles in a block: of the shape alone, since sums over tiles depend on it.
  Size block() const {
    const Size bytes = kPoints * tile_columns() * (channels() + outputs()) * (Size)sizeof(float);
    return std::min(rows(), std::max<Size>(1, kBlockBytes / bytes));
  }
  Size block_tiles() const { return block() * tile_columns(); }

  // Floats that each part of the workspace takes.
  Size weights() const { return kPoints * channels() * outputs(); }
  Size data() const { return kPoints * block_tiles() * channels(); }
  Size products() const { return kPoints * block_tiles() * outputs(); }
  Size shared() const { return weights() + data() + products(); }
  Size workspace(Size threads) const { return shared() + threads * 2 * row_floats(); }
  // Threads that find room in a workspace: it may have been made for fewer than there are now.
  int threads(Size size) const {
    return (int)std::clamp<Size>((size - shared()) / (2 * row_floats()), 1, omp_get_max_threads());
  }
};

// Where the parts of the workspace are.
struct Memory {
  float *u, *v, *m, *lines;

  Memory(const Problem& g, float* workspace)
      : u(workspace), v(u + g.weights()), m(v + g.data()), lines(m + g.products()) {}
  float* own(const Problem& g) const { return lines + omp_get_thread_num() * 2 * g.row_floats(); }
};

// w (k,c,3,3) to u (36, outputs/16, channels, 16). Turned: w is (c,k,3,3) and each window is turned by half a turn:
// what backward-data wants.
inline void weights(const Problem& g, const float* w, float* u, bool turned) {
#pragma omp for collapse(2) schedule(static)
  for (Size block = 0; block < g.outputs() / kWidth; block++) {
    for (Size c = 0; c < g.channels(); c++) {
      float values[9][kWidth] = {};
      for (Size lane = 0; lane < kWidth; lane++) {
        const Size k = block * kWidth + lane;
        if (k >= g.k || c >= g.c) continue;
        const float* window = w + (turned ? c * g.k + k : k * g.c + c) * 9;
        for (int i = 0; i < 9; i++) values[i][lane] = window[turned ? 8 - i : i];
      }
      Vector from[9], half[18], whole[kPoints];
      for (int i = 0; i < 9; i++) from[i] = load(values[i]);
      for (int x = 0; x < 3; x++) transform_weights(from + x, 3, half + x, 3);
      for (int y = 0; y < 6; y++) transform_weights(half + y * 3, 1, whole + y * 6, 1);
      float* to = u + (block / 2 * g.channels() + c) * kPanel + block % 2 * kWidth;
      for (Size e = 0; e < kPoints; e++) store(to + e * g.channels() * g.outputs(), whole[e]);
    }
  }
}

// The rows first .. last of tiles of x to v (36, tiles, channels).
inline void data(const Problem& g, const float* x, Size first, Size last, const Memory& memory) {
  const Size columns = 4 * g.tile_columns() + 2, plane = g.h * g.w, pitch = g.block_tiles() * g.channels();
#pragma omp for collapse(2) schedule(static)
  for (Size row = first; row < last; row++) {
    for (Size block = 0; block < g.channels() / kWidth; block++) {
      const Size image = row / g.tile_rows(), top = row % g.tile_rows() * 4 - g.pad_h;
      const Size left = std::min(g.pad_w, columns), inside = std::min(g.w, columns - left);
      const float* from = x + (image * g.c + block * kWidth) * plane;
      float* line = memory.own(g);
      for (Size i = 0; i < 6; i++) {
        float* to = line + i * columns * kWidth;
        if (top + i < 0 || top + i >= g.h) {
          std::memset(to, 0, columns * kWidth * sizeof(float));
          continue;
        }
        std::memset(to, 0, left * kWidth * sizeof(float));
        interleave(from + (top + i) * g.w, plane, std::min(kWidth, g.c - block * kWidth), to + left * kWidth, inside);
        std::memset(to + (left + inside) * kWidth, 0, (columns - left - inside) * kWidth * sizeof(float));
      }
      for (Size j = 0; j < columns; j++) {
        Vector d[6], t[6];
        for (Size i = 0; i < 6; i++) d[i] = load(line + (i * columns + j) * kWidth);
        transform_data(d, 1, t, 1);
        for (Size i = 0; i < 6; i++) store(line + (i * columns + j) * kWidth, t[i]);
      }
      for (Size tile = 0; tile < g.tile_columns(); tile++) {
        float* to = memory.v + ((row - first) * g.tile_columns() + tile) * g.channels() + block * kWidth;
        for (Size i = 0; i < 6; i++) {
          Vector d[6], t[6];
          for (Size j = 0; j < 6; j++) d[j] = load(line + (i * columns + tile * 4 + j) * kWidth);
          transform_data(d, 1, t, 1);
          for (Size j = 0; j < 6; j++) store(to + (i * 6 + j) * pitch, t[j]);
        }
      }
    }
  }
}

// m = v u for `tiles` tiles.
inline void products(const Problem& g, Size tiles, const Memory& memory) {
  const Size panels = g.outputs() / kPanel, c = g.channels();
#pragma omp for collapse(2) schedule(static)
  for (Size e = 0; e < kPoints; e++) {
    for (Size panel = 0; panel < panels; panel++) {
      const float* v = memory.v + e * g.block_tiles() * c;
      const float* u = memory.u + (e * panels + panel) * c * kPanel;
      float* m = memory.m + e * g.block_tiles() * g.outputs() + panel * kPanel;
      for (Size depth = 0; depth < c; depth += kDepth) {
        const Size some = std::min(kDepth, c - depth);
        if (depth) multiply<true>(v + depth, c, 1, u + depth * kPanel, m, g.outputs(), tiles, some);
        else multiply<false>(v, c, 1, u, m, g.outputs(), tiles, some);
      }
    }
  }
}

// Where a convolution's result goes: y, perhaps through relu; with codes, through 2 x 2 max-pooling too.
struct Target {
  float* y;
  unsigned char* codes;
  bool relu;
  float slope;
};

// The windows of one tile's 4 x 4 outputs of 8 channels: maxima to line (2, columns, 8), where they were to the codes.
INLINE void pool_tile(const Problem& g, const Vector* out, Size image, Size top, Size tile, Size block, Size some,
                      Size columns, float* line, unsigned char* codes) {
  for (Size i = 0; i < 2; i++) {
    for (Size j = 0; j < 2; j++) {
      const Vector* from = out + 8 * i + 2 * j;
      const Vector four[4] = {from[0], from[1], from[4], from[5]};
      Lanes low, high;
      const Size row = top / 2 + i, column = tile * 2 + j;
      store(line + (i * columns + column) * kWidth, pool::largest(four, low, high));
      if (row >= g.p / 2 || column >= g.q / 2) continue;
      unsigned char* to = codes + ((image * (g.p / 2) + row) * (g.q / 2) + column) * pool::code_bytes(g.k) + 2 * block;
      pool::put_code(to, pool::code(low, high), some);
    }
  }
}

// m back to the rows first .. last of tiles of y, plus the bias.
inline void back(const Problem& g, const Memory& memory, Size first, Size last, const float* bias,
                 const Target& target) {
  const Size columns = 4 * g.tile_columns(), pitch = g.block_tiles() * g.outputs();
#pragma omp for collapse(2) schedule(static)
  for (Size row = first; row < last; row++) {
    for (Size block = 0; block < (g.k + kWidth - 1) / kWidth; block++) {
      const Size image = row / g.tile_rows(), top = row % g.tile_rows() * 4;
      const Size some = std::min(kWidth, g.k - block * kWidth);
      const Vector b = bias ? load_some(bias + block * kWidth, some) : (Vector){};
      float* line = memory.own(g);
      for (Size tile = 0; tile < g.tile_columns(); tile++) {
        const float* from = memory.m + ((row - first) * g.tile_columns() + tile) * g.outputs() + block * kWidth;
        Vector half[24], out[16];
        for (Size j = 0; j < 6; j++) {
          Vector m[6];
          for (Size i = 0; i < 6; i++) m[i] = load(from + (i * 6 + j) * pitch);
          transform_back(m, 1, half + j, 6);
        }
        for (Size i = 0; i < 4; i++) transform_back(half + i * 6, 1, out + i * 4, 1);
        for (Vector& value : out) {
          value += b;
          if (target.relu) value = value > 0.f ? value : target.slope * value;
        }
        if (target.codes) {
          pool_tile(g, out, image, top, tile, block, some, columns, line, target.codes);
          continue;
        }
        for (Size i = 0; i < 4; i++) {
          for (Size j = 0; j < 4; j++) store(line + (i * columns + tile * 4 + j) * kWidth, out[i * 4 + j]);
        }
      }
      const Size pooled = target.codes ? 2 : 1, height = g.p / pooled, width = g.q / pooled;
      float* to = target.y + (image * g.k + block * kWidth) * height * width;
      for (Size i = 0; i < 4 / pooled && top / pooled + i < height; i++) {
        separate(line + i * columns * kWidth, to + (top / pooled + i) * width, height * width, some, width);
      }
    }
  }
}

// conv(x, w) + bias to the target. Turned: see weights().
inline void forward(const Problem& g, const float* x, const float* w, const float* bias, const Target& target,
                    bool turned, float* workspace, Size size) {
  const Memory memory(g, workspace);
#pragma omp parallel num_threads(g.threads(size))
  {
    weights(g, w, memory.u, turned);
    for (Size first = 0; first < g.rows(); first += g.block()) {
      const Size last = std::min(first + g.block(), g.rows());
      data(g, x, first, last, memory);
      products(g, (last - first) * g.tile_columns(), memory);
      back(g, memory, first, last, bias, target);
    }
  }
}

// The rows first .. last of tiles of dy to m (36, outputs/16, tiles, 16).
inline void diff(const Problem& g, const float* dy, Size first, Size last, const Memory& memory) {
  const Size columns = 4 * g.tile_columns(), plane = g.p * g.q, tiles = g.block_tiles();
#pragma omp for collapse(2) schedule(static)
  for (Size row = first; row < last; row++) {
    for (Size block = 0; block < g.outputs() / kWidth; block++) {
      const Size image = row / g.tile_rows(), top = row % g.tile_rows() * 4;
      const Size some = std::max<Size>(0, std::min(kWidth, g.k - block * kWidth));
      const float* from = dy + (image * g.k + block * kWidth) * plane;
      float *raw = memory.own(g), *line = raw + g.row_floats();
      for (Size i = 0; i < 4; i++) {
        float* to = raw + i * columns * kWidth;
        const Size inside = top + i < g.p && some ? g.q : 0;
        if (inside) interleave(from + (top + i) * g.q, plane, some, to, inside);
        std::memset(to + inside * kWidth, 0, (columns - inside) * kWidth * sizeof(float));
      }
      for (Size j = 0; j < columns; j++) {
        Vector y[4], t[6];
        for (Size i = 0; i < 4; i++) y[i] = load(raw + (i * columns + j) * kWidth);
        transform_diff(y, 1, t, 1);
        for (Size i = 0; i < 6; i++) store(line + (i * columns + j) * kWidth, t[i]);
      }
      for (Size tile = 0; tile < g.tile_columns(); tile++) {
        const Size at = (row - first) * g.tile_columns() + tile;
        float* to = memory.m + (block / 2 * tiles + at) * kPanel + block % 2 * kWidth;
        for (Size i = 0; i < 6; i++) {
          Vector y[4], t[6];
          for (Size j = 0; j < 4; j++) y[j] = load(line + (i * columns + tile * 4 + j) * kWidth);
          transform_diff(y, 1, t, 1);
          for (Size j = 0; j < 6; j++) store(to + (i * 6 + j) * tiles * g.outputs(), t[j]);
        }
      }
    }
  }
}

// dw (k,c,3,3) += the gradient; u holds its transform (36, channels, outputs).
inline void backward_weights(const Problem& g, const float* x, const float* dy, float* dw, float* workspace,
                             Size size) {
  const Memory memory(g, workspace);
  const Size panels = g.outputs() / kPanel, c = g.channels(), most = g.block_tiles();
#pragma omp parallel num_threads(g.threads(size))
  {
    for (Size first = 0; first < g.rows(); first += g.block()) {
      const Size last = std::min(first + g.block(), g.rows()), tiles = (last - first) * g.tile_columns();
      data(g, x, first, last, memory);
      diff(g, dy, first, last, memory);
#pragma omp for collapse(2) schedule(static)
      for (Size e = 0; e < kPoints; e++) {
        for (Size panel = 0; panel < panels; panel++) {
          float* u = memory.u + e * c * g.outputs() + panel * kPanel;
          for (Size depth = 0; depth < tiles; depth += kDepth) {
            const float* v = memory.v + (e * most + depth) * c;
            const float* m = memory.m + ((e * panels + panel) * most + depth) * kPanel;
            const Size some = std::min(kDepth, tiles - depth);
            if (first || depth) multiply<true>(v, 1, c, m, u, g.outputs(), c, some);
            else multiply<false>(v, 1, c, m, u, g.outputs(), c, some);
          }
        }
      }
    }
#pragma omp for collapse(2) schedule(static)
    for (Size block = 0; block < (g.k + kWidth - 1) / kWidth; block++) {
      for (Size channel = 0; channel < g.c; channel++) {
        Vector half[18], whole[9];
        for (Size j = 0; j < 6; j++) {
          Vector m[6];
          for (Size i = 0; i < 6; i++) {
            m[i] = load(memory.u + ((i * 6 + j) * c + channel) * g.outputs() + block * kWidth);
          }
          transform_gradient(m, 1, half + j, 6);
        }
        for (Size i = 0; i < 3; i++) transform_gradient(half + i * 6, 1, whole + i * 3, 1);
        for (Size lane = 0; lane < std::min(kWidth, g.k - block * kWidth); lane++) {
          float* to = dw + ((block * kWidth + lane) * g.c + channel) * 9;
          for (int i = 0; i < 9; i++) to[i] += whole[i][lane];
        }
      }
    }
  }
}

}  // namespace winograd

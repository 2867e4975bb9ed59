// 3x3 convolution of stride 1 by Winograd's minimal filtering: tiles of 4x4 outputs from 6x6 inputs by 36
// products instead of 144.
//
// Points 0, 1, -1, 2, -1/2 and infinity: the transform of the data is exact in binary but for its sums, and the
// largest error is a third of that of the usual points 0, +-1, +-2. Forward and backward-data are F(4x4, 3x3);
// the gradient of the weights is F(3x3, 4x4), the same transform of the data with another of dy.
// Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; the matrices follow
// from the points by Toom and Cook's construction.
//
// Tiles are handled in blocks of whole rows of tiles, whose transformed data v all threads share. A job is a part of a
// block and a panel of 16 outputs: a thread multiplies, 64 channels at a time, and transforms back, so that the products
// never leave its own cache. Weights are transformed beforehand, or in the job where no other would use them.
// In the gradient of the weights a job is a panel of 16 outputs and 64 channels, over all tiles of the block.
// Channels are rounded up to 8, outputs to 16, with zeros. What a thread does changes no sum: results are the same
// for any number of threads.
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

constexpr Size kPoints = 36, kPanel = 16;
constexpr Size kChunk = 64;  // channels of a job
constexpr Size kPart = 64;                // tiles of a job, about: what it holds then fits its cache
constexpr Size kBlockBytes = 8 << 20;     // of v: about what the caches that threads share hold
constexpr Size kPad = 16;                 // floats between points, which else would meet in one set of the cache

inline Size round_up(Size value, Size to) { return (value + to - 1) / to * to; }

// x (n,c,h,w) to y (n,k,p,q), p = h + 2 pad_h - 2.
struct Problem {
  Size n, c, h, w, k, p, q, pad_h, pad_w;

  Size tile_rows() const { return (p + 3) / 4; }
  Size tile_columns() const { return (q + 3) / 4; }
  Size rows() const { return n * tile_rows(); }  // rows of tiles of all images
  Size channels() const { return round_up(c, kWidth); }
  Size outputs() const { return round_up(k, kPanel); }
  Size panels() const { return outputs() / kPanel; }
  Size chunks() const { return (channels() + kChunk - 1) / kChunk; }
  Size columns() const { return 4 * tile_columns() + 2; }

  // Rows of tiles in a block, and in a part of a block that has so many rows: of the shape alone.
  Size block(Size bytes) const {
    const Size row = kPoints * tile_columns() * channels() * (Size)sizeof(float);
    return std::min(rows(), std::max<Size>(1, bytes / row));
  }
  Size part(Size rows) const {
    const Size parts = std::max<Size>(1, (rows * tile_columns() + kPart / 2) / kPart);
    return (rows + parts - 1) / parts;
  }
};

// The threads that find room in a workspace, which may have been made for fewer than there are now.
inline int threads_in(Size size, Size shared, Size own) {
  return (int)std::clamp<Size>((size - shared) / own, 1, omp_get_max_threads());
}

// Transformed data of a block: v (36, channels/8, tiles, 8).
struct Data {
  Size rows, tiles, pitch;  // pitch: floats from point to point

  Data(const Problem& g, Size bytes)
      : rows(g.block(bytes)), tiles(rows * g.tile_columns()), pitch(tiles * g.channels() + kPad) {}
};

// Rows of `channels` (at most 8) planes of x, from row `top`, to line (count, columns, 8): zeros outside.
inline void gather(const float* x, Size h, Size w, Size channels, Size top, Size left, float* line, Size count,
                   Size columns) {
  left = std::min(left, columns);
  const Size inside = std::min(w, columns - left);
  for (Size i = 0; i < count; i++, line += columns * kWidth) {
    if (channels <= 0 || top + i < 0 || top + i >= h) {
      std::memset(line, 0, columns * kWidth * sizeof(float));
      continue;
    }
    std::memset(line, 0, left * kWidth * sizeof(float));
    interleave(x + (top + i) * w, h * w, channels, line + left * kWidth, inside);
    std::memset(line + (left + inside) * kWidth, 0, (columns - left - inside) * kWidth * sizeof(float));
  }
}

// The rows first .. last of tiles of x to v.
inline void data(const Problem& g, const Data& d, const float* x, Size first, Size last, float* v, float* line) {
  const Size columns = g.columns();
#pragma omp for collapse(2) schedule(static)
  for (Size row = first; row < last; row++) {
    for (Size block = 0; block < g.channels() / kWidth; block++) {
      const Size image = row / g.tile_rows(), top = row % g.tile_rows() * 4 - g.pad_h;
      const float* from = x + (image * g.c + block * kWidth) * g.h * g.w;
      gather(from, g.h, g.w, std::min(kWidth, g.c - block * kWidth), top, g.pad_w, line, 6, columns);
      for (Size j = 0; j < columns; j++) {
        Vector some[6], t[6];
        for (Size i = 0; i < 6; i++) some[i] = load(line + (i * columns + j) * kWidth);
        transform_data(some, 1, t, 1);
        for (Size i = 0; i < 6; i++) store(line + (i * columns + j) * kWidth, t[i]);
      }
      float* to = v + (block * d.tiles + (row - first) * g.tile_columns()) * kWidth;
      for (Size tile = 0; tile < g.tile_columns(); tile++, to += kWidth) {
        for (Size i = 0; i < 6; i++) {
          Vector some[6], t[6];
          for (Size j = 0; j < 6; j++) some[j] = load(line + (i * columns + tile * 4 + j) * kWidth);
          transform_data(some, 1, t, 1);
          for (Size j = 0; j < 6; j++) store(to + (i * 6 + j) * d.pitch, t[j]);
        }
      }
    }
  }
}

// Transformed weights of a panel and a chunk: u (36, 64, 16).
constexpr Size kWeightPitch = kPanel * kChunk + kPad, kWeights = kPoints * kWeightPitch;

// Of the windows of w that go from 64 channels from c on to 16 outputs from k on. w is (k,c,3,3); turned, it is (c,k,3,3)
// and each window is turned by half a turn: what backward-data wants.
inline void weights(const Problem& g, const float* w, bool turned, Size k, Size c, float* u) {
  const Size output = 9 * (turned ? 1 : g.c), channel = 9 * (turned ? g.k : 1);  // floats from one to the next
  for (Size i = 0; i < std::min(kChunk, g.channels() - c); i++) {
    for (Size block = 0; block < kPanel / kWidth; block++) {  // inner: the two fill a line
      const Size first = k + block * kWidth;
      const Size lanes = c + i < g.c ? std::clamp<Size>(g.k - first, 0, kWidth) : 0;
      const float* window = w + first * output + (c + i) * channel;
      Vector from[9], half[18];
      float last[kWidth] = {};
      for (Size lane = 0; lane < kWidth; lane++) {
        from[lane] = lane < lanes ? load(window + lane * output) : (Vector){};
        if (lane < lanes) last[lane] = window[lane * output + 8];
        __builtin_prefetch(window + lane * output + kChunk * channel, 0, 2);  // the next chunk's, which come from memory
      }
      transpose(from);
      from[8] = load(last);
      if (turned) std::reverse(from, from + 9);
      for (int x = 0; x < 3; x++) transform_weights(from + x, 3, half + x, 3);
      float* to = u + i * kPanel + block * kWidth;
      for (int y = 0; y < 6; y++) {
        Vector whole[6];
        transform_weights(half + y * 3, 1, whole, 1);
        for (int x = 0; x < 6; x++) store(to + (y * 6 + x) * kWeightPitch, whole[x]);
      }
    }
  }
}

// to (ROWS, 16) = or += v times u for ROWS tiles. v: blocks of 8 channels, `step` floats from one to the next. The next
// point's weights are fetched meanwhile: they may come from memory.
template <int ROWS, bool ADD>
INLINE void multiply_tiles(const float* v, Size step, const float* u, float* to, Size blocks) {
  Vector low[ROWS], high[ROWS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++) {
    low[i] = ADD ? load(to + i * kPanel) : (Vector){};
    high[i] = ADD ? load(to + i * kPanel + kWidth) : (Vector){};
  }
  for (Size block = 0; block < blocks; block++, v += step, u += kWidth * kPanel) {
#pragma GCC unroll 8
    for (int lane = 0; lane < kWidth; lane++) {
      const Vector u0 = load(u + lane * kPanel), u1 = load(u + lane * kPanel + kWidth);
      __builtin_prefetch(u + lane * kPanel + kWeightPitch, 0, 2);
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; i++) {
        const Vector value = all(v[i * kWidth + lane]);
        low[i] += value * u0;
        high[i] += value * u1;
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++) {
    store(to + i * kPanel, low[i]);
    store(to + i * kPanel + kWidth, high[i]);
  }
}

template <bool ADD>
INLINE void multiply_part(const float* v, Size step, const float* u, float* to, Size tiles, Size blocks) {
  Size i = 0;
  for (; i + 6 <= tiles; i += 6) multiply_tiles<6, ADD>(v + i * kWidth, step, u, to + i * kPanel, blocks);
  v += i * kWidth;
  to += i * kPanel;
  switch (tiles - i) {
    case 5: return multiply_tiles<5, ADD>(v, step, u, to, blocks);
    case 4: return multiply_tiles<4, ADD>(v, step, u, to, blocks);
    case 3: return multiply_tiles<3, ADD>(v, step, u, to, blocks);
    case 2: return multiply_tiles<2, ADD>(v, step, u, to, blocks);
    case 1: return multiply_tiles<1, ADD>(v, step, u, to, blocks);
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
INLINE void pool_tile(const Problem& g, const Vector* out, Size image, Size top, Size tile, Size k, Size some,
                      Size columns, float* line, unsigned char* codes) {
  for (Size i = 0; i < 2; i++) {
    for (Size j = 0; j < 2; j++) {
      const Vector* from = out + 8 * i + 2 * j;
      const Vector four[4] = {from[0], from[1], from[4], from[5]};
      Lanes low, high;
      const Size row = top / 2 + i, column = tile * 2 + j;
      store(line + (i * columns + column) * kWidth, pool::largest(four, low, high));
      if (row >= g.p / 2 || column >= g.q / 2) continue;
      unsigned char* to = codes + ((image * (g.p / 2) + row) * (g.q / 2) + column) * pool::code_bytes(g.k) + k / 4;
      pool::put_code(to, pool::code(low, high), some);
    }
  }
}

// A row of tiles back: m (36, tiles, 16) to 8 outputs from k on, plus the bias.
inline void back(const Problem& g, const float* m, Size pitch, Size row, Size k, const float* bias,
                 const Target& target, float* line) {
  const Size columns = 4 * g.tile_columns(), some = std::min(kWidth, g.k - k);
  const Size image = row / g.tile_rows(), top = row % g.tile_rows() * 4;
  const Vector b = bias ? load_some(bias + k, some) : (Vector){};
  for (Size tile = 0; tile < g.tile_columns(); tile++, m += kPanel) {
    Vector half[24], out[16];
    for (Size j = 0; j < 6; j++) {
      Vector from[6];
      for (Size i = 0; i < 6; i++) from[i] = load(m + (i * 6 + j) * pitch);
      transform_back(from, 1, half + j, 6);
    }
    for (Size i = 0; i < 4; i++) transform_back(half + i * 6, 1, out + i * 4, 1);
    for (Vector& value : out) {
      value += b;
      if (target.relu) value = value > 0.f ? value : target.slope * value;
    }
    if (target.codes) {
      pool_tile(g, out, image, top, tile, k, some, columns, line, target.codes);
      continue;
    }
    for (Size i = 0; i < 4; i++) {
      for (Size j = 0; j < 4; j++) store(line + (i * columns + tile * 4 + j) * kWidth, out[i * 4 + j]);
    }
  }
  const Size pooled = target.codes ? 2 : 1, height = g.p / pooled, width = g.q / pooled;
  float* to = target.y + (image * g.k + k) * height * width;
  for (Size i = 0; i < 4 / pooled && top / pooled + i < height; i++) {
    separate(line + i * columns * kWidth, to + (top / pooled + i) * width, height * width, some, width);
  }
}

// How forward divides its workspace: v and, unless there is only one part, u (jobs, 36, 64, 16) for all; for each thread
// m, some rows and, if there is only one part, a job's u.
struct Forward {
  Data d;
  Size part, pitch, shared, lines, own;  // part: rows; pitch: floats of m from point to point
  bool once;                             // one part: transformed weights are not needed twice

  explicit Forward(const Problem& g)
      : d(g, kBlockBytes),
        part(g.part(d.rows)),
        pitch(part * g.tile_columns() * kPanel + kPad),
        lines(6 * g.columns() * kWidth),
        once(part == g.rows()) {
    shared = kPoints * d.pitch + (once ? 0 : g.panels() * g.chunks() * kWeights);
    own = kPoints * pitch + lines + (once ? kWeights : 0);
  }
};

// conv(x, w) + bias to the target. Turned: see weights().
inline void forward(const Problem& g, const float* x, const float* w, const float* bias, const Target& target,
                    bool turned, float* workspace, Size size) {
  const Forward f(g);
  const Size columns = g.tile_columns(), parts = (f.d.rows + f.part - 1) / f.part;
#pragma omp parallel num_threads(threads_in(size, f.shared, f.own))
  {
    float *v = workspace, *all_weights = v + kPoints * f.d.pitch;
    float *m = workspace + f.shared + omp_get_thread_num() * f.own, *line = m + kPoints * f.pitch;
    if (!f.once) {
#pragma omp for collapse(2) schedule(static) nowait
      for (Size panel = 0; panel < g.panels(); panel++) {
        for (Size chunk = 0; chunk < g.chunks(); chunk++) {
          float* u = all_weights + (panel * g.chunks() + chunk) * kWeights;
          weights(g, w, turned, panel * kPanel, chunk * kChunk, u);
        }
      }
    }
    for (Size first = 0; first < g.rows(); first += f.d.rows) {
      const Size last = std::min(first + f.d.rows, g.rows());
      data(g, f.d, x, first, last, v, line);
#pragma omp for collapse(2) schedule(dynamic)
      for (Size panel = 0; panel < g.panels(); panel++) {
        for (Size part = 0; part < parts; part++) {
          const Size begin = part * f.part, rows = std::min(f.part, last - first - begin), k = panel * kPanel;
          if (rows <= 0) continue;
          for (Size chunk = 0; chunk < g.chunks(); chunk++) {
            const Size c = chunk * kChunk, blocks = std::min(kChunk, g.channels() - c) / kWidth;
            float* u = f.once ? line + f.lines : all_weights + (panel * g.chunks() + chunk) * kWeights;
            if (f.once) weights(g, w, turned, k, c, u);
            const float* from = v + c * f.d.tiles + begin * columns * kWidth;
            for (Size e = 0; e < kPoints; e++, from += f.d.pitch) {
              const float* some = u + e * kWeightPitch;
              float* to = m + e * f.pitch;
              if (c) multiply_part<true>(from, f.d.tiles * kWidth, some, to, rows * columns, blocks);
              else multiply_part<false>(from, f.d.tiles * kWidth, some, to, rows * columns, blocks);
            }
          }
          for (Size row = 0; row < rows; row++) {
            for (Size block = 0; block < kPanel && k + block < g.k; block += kWidth) {
              const float* from = m + row * columns * kPanel + block;
              back(g, from, f.pitch, first + begin + row, k + block, bias, target, line);
            }
          }
        }
      }
    }
  }
}

// How the gradient of the weights divides its workspace: v, the transformed diff m (36, outputs/16, tiles, 16) and, where
// there is more than one block, u (jobs, 36, 64, 16) for all; for each thread a job's u, where there is one, and rows.
struct Backward {
  Data d;
  Size pitch, shared, lines, own;
  bool once;  // one block: nothing is kept for the next

  explicit Backward(const Problem& g)
      : d(g, kBlockBytes * g.channels() / (g.channels() + g.outputs()) * 2),
        pitch(d.tiles * g.outputs() + kPad),
        lines(6 * g.columns() * kWidth),
        once(d.rows == g.rows()) {
    shared = kPoints * (d.pitch + pitch) + (once ? 0 : g.panels() * g.chunks() * kWeights);
    own = 2 * lines + (once ? kWeights : 0);
  }
};

// The rows first .. last of tiles of dy to m.
inline void diff(const Problem& g, const Backward& f, const float* dy, Size first, Size last, float* m, float* raw) {
  const Size columns = 4 * g.tile_columns();
  float* line = raw + f.lines;
#pragma omp for collapse(2) schedule(static)
  for (Size row = first; row < last; row++) {
    for (Size block = 0; block < g.outputs() / kWidth; block++) {
      const Size image = row / g.tile_rows(), top = row % g.tile_rows() * 4;
      const float* from = dy + (image * g.k + block * kWidth) * g.p * g.q;
      gather(from, g.p, g.q, std::min(kWidth, g.k - block * kWidth), top, 0, raw, 4, columns);
      for (Size j = 0; j < columns; j++) {
        Vector y[4], t[6];
        for (Size i = 0; i < 4; i++) y[i] = load(raw + (i * columns + j) * kWidth);
        transform_diff(y, 1, t, 1);
        for (Size i = 0; i < 6; i++) store(line + (i * columns + j) * kWidth, t[i]);
      }
      float* to = m + (block / 2 * f.d.tiles + (row - first) * g.tile_columns()) * kPanel + block % 2 * kWidth;
      for (Size tile = 0; tile < g.tile_columns(); tile++, to += kPanel) {
        for (Size i = 0; i < 6; i++) {
          Vector y[4], t[6];
          for (Size j = 0; j < 4; j++) y[j] = load(line + (i * columns + tile * 4 + j) * kWidth);
          transform_diff(y, 1, t, 1);
          for (Size j = 0; j < 6; j++) store(to + (i * 6 + j) * f.pitch, t[j]);
        }
      }
    }
  }
}

// to (ROWS, 16) = or += v^T m for the ROWS channels from lane START of a block of 8 on, which may reach into the next
// block, `next` floats on.
template <int START, int ROWS>
INLINE void multiply_channels(const float* v, Size next, const float* m, float* to, Size tiles, bool add) {
  Vector low[ROWS], high[ROWS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++) {
    low[i] = add ? load(to + i * kPanel) : (Vector){};
    high[i] = add ? load(to + i * kPanel + kWidth) : (Vector){};
  }
  const float* other = v + next;
#pragma GCC unroll 2
  for (Size tile = 0; tile < tiles; tile++, v += kWidth, other += kWidth, m += kPanel) {
    const Vector m0 = load(m), m1 = load(m + kWidth);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) {
      const Vector value = all(START + i < kWidth ? v[START + i] : other[START + i - kWidth]);
      low[i] += value * m0;
      high[i] += value * m1;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++) {
    store(to + i * kPanel, low[i]);
    store(to + i * kPanel + kWidth, high[i]);
  }
}

// The same for `channels` channels, a multiple of 8, six at a time.
inline void multiply_chunk(const float* v, Size next, const float* m, float* to, Size channels, Size tiles, bool add) {
  for (Size c = 0; c < channels; c += 6, to += 6 * kPanel) {
    const float* from = v + c / kWidth * next;
    switch (c % kWidth) {
      case 0: multiply_channels<0, 6>(from, next, m, to, tiles, add); break;
      case 2: multiply_channels<2, 6>(from, next, m, to, tiles, add); break;
      case 4:
        if (c + 6 <= channels) multiply_channels<4, 6>(from, next, m, to, tiles, add);
        else multiply_channels<4, 4>(from, next, m, to, tiles, add);
        break;
      case 6:
        if (c + 6 <= channels) multiply_channels<6, 6>(from, next, m, to, tiles, add);
        else multiply_channels<6, 2>(from, next, m, to, tiles, add);
        break;
    }
  }
}

// dw (k,c,3,3) += a job's u transformed back.
inline void gradient(const Problem& g, const float* u, Size k, Size c, float* dw) {
  for (Size block = 0; block < kPanel && k + block < g.k; block += kWidth) {
    const Size some = std::min(kWidth, g.k - k - block);
    for (Size i = 0; i < kChunk && c + i < g.c; i++) {
      Vector half[18], whole[9];
      for (Size x = 0; x < 6; x++) {
        Vector m[6];
        for (Size y = 0; y < 6; y++) m[y] = load(u + (y * 6 + x) * kWeightPitch + i * kPanel + block);
        transform_gradient(m, 1, half + x, 6);
      }
      for (Size y = 0; y < 3; y++) transform_gradient(half + y * 6, 1, whole + y * 3, 1);
      transpose(whole);  // the first 8: a vector for each output
      for (Size lane = 0; lane < some; lane++) {
        float* to = dw + ((k + block + lane) * g.c + c + i) * 9;
        store(to, load(to) + whole[lane]);
        to[8] += whole[8][lane];
      }
    }
  }
}

// dw (k,c,3,3) += the gradient.
inline void backward_weights(const Problem& g, const float* x, const float* dy, float* dw, float* workspace,
                             Size size) {
  const Backward f(g);
#pragma omp parallel num_threads(threads_in(size, f.shared, f.own))
  {
    float *v = workspace, *m = v + kPoints * f.d.pitch, *all_sums = m + kPoints * f.pitch;
    float* line = workspace + f.shared + omp_get_thread_num() * f.own;
    for (Size first = 0; first < g.rows(); first += f.d.rows) {
      const Size last = std::min(first + f.d.rows, g.rows()), tiles = (last - first) * g.tile_columns();
      data(g, f.d, x, first, last, v, line);
      diff(g, f, dy, first, last, m, line);
#pragma omp for collapse(2) schedule(dynamic)
      for (Size panel = 0; panel < g.panels(); panel++) {
        for (Size chunk = 0; chunk < g.chunks(); chunk++) {
          const Size k = panel * kPanel, c = chunk * kChunk, channels = std::min(kChunk, g.channels() - c);
          float* u = f.once ? line + 2 * f.lines : all_sums + (panel * g.chunks() + chunk) * kWeights;
          for (Size e = 0; e < kPoints; e++) {
            multiply_chunk(v + e * f.d.pitch + c * f.d.tiles, f.d.tiles * kWidth,
                           m + e * f.pitch + panel * f.d.tiles * kPanel, u + e * kWeightPitch, channels, tiles, first > 0);
          }
          if (last == g.rows()) gradient(g, u, k, c, dw);
        }
      }
    }
  }
}

// Floats of workspace for so many threads.
inline Size workspace(const Problem& g, Size threads) {
  const Forward f(g);
  const Backward b(g);
  return std::max(f.shared + threads * f.own, b.shared + threads * b.own);
}

}  // namespace winograd

// Convolution of any window, stride, dilation and group: each image unfolded into a matrix, some rows and columns of it
// at a time, and multiplied where it lies in the cache.
//
// Backward-data is the same product with the window turned. Where the stride is not 1, the rows of dx fall into phases
// (a, a + stride, ...), and so do the columns: each pair of phases meets taps of its own and is a convolution of stride 1.
// One channel a group needs no matrix: its taps are added up over a padded plane.
// Every sum has the order of its own numbers: results are the same for any number of threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <numeric>

#include "products.h"

namespace direct {

constexpr Size kPanel = 16, kDepth = 256;  // rows of a matrix at a time: a panel of 16 columns stays in L1
constexpr Size kColumns = 256;             // of a matrix at a time, about: its piece stays in L2
constexpr Size kChunk = 32;                // rows of the matrix whose gradient a thread sums up
constexpr Size kSpan = 640;                // columns of it at a time, about
constexpr Size kRows = 64;                 // of a result that has no place of its own, at a time

inline Size round_up(Size value, Size to) { return (value + to - 1) / to * to; }

// Along one side of the window: tap i of output o reads o * stride + first + i * step. In the weights it is place
// at + i * pace of the window's side.
struct Taps {
  Size count, stride, first, step, at, pace;

  // What lies in 0 .. size: outputs low .. high of `length`, for tap i.
  void inside(Size i, Size size, Size length, Size& low, Size& high) const {
    const Size start = first + i * step;
    low = std::clamp<Size>((std::max<Size>(0, -start) + stride - 1) / stride, 0, length);
    high = start >= size ? low : std::clamp<Size>((size - 1 - start) / stride + 1, low, length);
  }
};

// x (n,c,h,w) to y (n,k,p,q). w (k, c/group, r, s).
struct Problem {
  Size n, c, h, w, k, p, q, r, s, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group;

  Size inputs() const { return c / group; }
  Size outputs() const { return k / group; }
  Size window() const { return r * s; }
  Size depth() const { return inputs() * window(); }
  bool single() const { return inputs() == 1 && outputs() == 1; }

  Taps taps_h() const { return {r, stride_h, -pad_h, dilation_h, 0, 1}; }
  Taps taps_w() const { return {s, stride_w, -pad_w, dilation_w, 0, 1}; }
  // Those that meet rows (columns) phase, phase + stride, ... of dx, on dy.
  static Taps back(Size taps, Size stride, Size pad, Size dilation, Size phase) {
    const Size pace = stride / std::gcd(stride, dilation);
    for (Size i = 0; i < std::min(pace, taps); i++) {
      const Size place = phase + pad - i * dilation;
      if (place % stride) continue;
      return {(taps - i + pace - 1) / pace, 1, place / stride, -(pace * dilation / stride), i, pace};
    }
    return {0, 1, 0, 0, 0, 1};
  }
  Taps back_h(Size phase) const { return back(r, stride_h, pad_h, dilation_h, phase); }
  Taps back_w(Size phase) const { return back(s, stride_w, pad_w, dilation_w, phase); }

  // Floats of a thread's piece of a matrix, whose rows are so many columns long; no pitch is a power of 2.
  static Size pitch(Size columns) { return round_up(columns, kPanel) + kPanel; }
  static Size rows_of(Size width, Size height, Size most) { return std::clamp<Size>(most / width, 1, height); }
  // Room for the pieces of outputs up to that wide and high: a narrower one may have more columns at a time.
  static Size piece(Size width, Size height, Size most, Size rows) {
    return rows * pitch(std::max(width, std::min(most, width * height)));
  }
  Size plane() const;  // of a padded one, where a group has one channel
  Size own() const {
    if (single()) return plane();
    const Size width = (w + stride_w - 1) / stride_w, height = (h + stride_h - 1) / stride_h;  // of the largest phase
    const Size turned = pitch(kChunk) * std::max(q, std::min(kSpan, p * q));  // of a chunk, turned by 90 degrees
    return std::max({piece(q, p, kColumns, std::min(kDepth, depth())), piece(q, p, kSpan, kChunk) + turned,
                     piece(width, height, kColumns, std::min(kDepth, outputs() * window()))});
  }
  Size shared() const { return single() ? 0 : k * depth(); }  // the window turned
  Size workspace(Size threads) const { return shared() + threads * own(); }
  int threads(Size size) const { return (int)std::clamp<Size>((size - shared()) / own(), 1, omp_get_max_threads()); }
};

// Rows first .. last of the matrix (channels, taps down, taps across) of some planes, for rows begin .. end of an output
// that is `width` wide.
inline void unfold(const float* x, Size h, Size w, const Taps& down, const Taps& across, Size first, Size last, Size begin,
                   Size end, Size width, float* to, Size pitch) {
  for (Size row = first; row < last; row++, to += pitch) {
    const Size i = row / across.count % down.count, j = row % across.count;
    const float* plane = x + row / (across.count * down.count) * h * w;
    Size low, high;
    across.inside(j, w, width, low, high);
    float* line = to;
    for (Size y = begin; y < end; y++, line += width) {
      const Size from = y * down.stride + down.first + i * down.step;
      if (from < 0 || from >= h) {
        std::fill(line, line + width, 0.f);
        continue;
      }
      const float* source = plane + from * w + across.first + j * across.step;
      std::fill(line, line + low, 0.f);
      if (across.stride == 1) {
        std::copy(source + low, source + high, line + low);
      } else {
        for (Size o = low; o < high; o++) line[o] = source[o * across.stride];
      }
      std::fill(line + high, line + width, 0.f);
    }
  }
}

// Where the columns of a matrix belong: rows begin .. of planes, `across` floats from one to the next, `down` from row
// to row.
struct Place {
  float* y;
  Size plane, width, begin, down, across;

  Size at(Size column) const { return (begin + column / width) * down + column % width * across; }
  bool straight() const { return across == 1 && down == width; }
};

// Columns of the result: `rows` rows = or += a (rows, depth) times b.
inline void columns(const float* a, Size row, const float* b, Size pitch, Size rows, Size depth, Size count, bool add,
                    const Place& place) {
  for (Size column = 0; column < count; column += kPanel, b += kPanel) {
    const Size some = std::min(kPanel, count - column);
    if (place.straight() && some == kPanel) {
      float* to = place.y + place.at(column);
      if (add) multiply<true>(a, row, 1, b, pitch, to, place.plane, rows, depth);
      else multiply<false>(a, row, 1, b, pitch, to, place.plane, rows, depth);
      continue;
    }
    Size at[kPanel];
    for (Size j = 0; j < some; j++) at[j] = place.at(column + j);
    for (Size first = 0; first < rows; first += kRows) {
      float found[kRows * kPanel];
      const Size here = std::min(kRows, rows - first);
      multiply<false>(a + first * row, row, 1, b, pitch, found, kPanel, here, depth);
      for (Size i = 0; i < here; i++) {
        float* to = place.y + (first + i) * place.plane;
        for (Size j = 0; j < some; j++) to[at[j]] = found[i * kPanel + j] + (add ? to[at[j]] : 0.f);
      }
    }
  }
}

// Rows begin .. end of all outputs of one group: weights (rows, depth) times the matrix of x, piece by piece.
inline void product(const float* weights, Size rows, Size depth, const float* x, Size h, Size w, const Taps& down,
                    const Taps& across, Size end, const Place& place, float* piece) {
  const Size count = (end - place.begin) * place.width, pitch = Problem::pitch(count);
  for (Size first = 0; first < depth; first += kDepth) {
    const Size last = std::min(first + kDepth, depth);
    unfold(x, h, w, down, across, first, last, place.begin, end, place.width, piece, pitch);
    columns(weights + first, depth, piece, pitch, rows, last - first, count, first > 0, place);
  }
}

// A plane with zeros around it, so that every tap of every output is inside; `left` and `top` of them before it.
struct Padded {
  Size top, left, rows, pitch;

  Padded(const Taps& down, const Taps& across, Size h, Size w, Size height, Size width) {
    edges(down, h, height, top, rows);
    edges(across, w, width, left, pitch);
    pitch += across.stride * kWidth;  // the last vector may reach behind the last output
  }
  Size size() const { return rows * pitch; }
  static void edges(const Taps& taps, Size size, Size length, Size& before, Size& whole) {
    const Size least = taps.first + std::min<Size>(0, (taps.count - 1) * taps.step);
    const Size most = taps.first + std::max<Size>(0, (taps.count - 1) * taps.step) + (length - 1) * taps.stride;
    before = std::max<Size>(0, -least);
    whole = before + std::max(size, most + 1);
  }
  void fill(const float* x, Size h, Size w, float* to) const {
    std::fill(to, to + size(), 0.f);
    for (Size i = 0; i < h; i++) std::copy(x + i * w, x + (i + 1) * w, to + (top + i) * pitch + left);
  }
};

inline Size Problem::plane() const {
  Size most = Padded(taps_h(), taps_w(), h, w, p, q).size();
  for (Size i = 0; i < std::min(stride_h, h); i++) {
    for (Size j = 0; j < std::min(stride_w, w); j++) {
      const Taps down = back_h(i), across = back_w(j);
      if (!down.count || !across.count) continue;
      most = std::max(most, Padded(down, across, p, q, (h - i + stride_h - 1) / stride_h,
                                   (w - j + stride_w - 1) / stride_w).size());
    }
  }
  return most;
}

INLINE Vector load_apart(const float* from, Size stride) {
  if (stride == 1) return load(from);
  Vector result;
  for (int i = 0; i < kWidth; i++) result[i] = from[i * stride];
  return result;
}

// One plane: to = the sum of its taps. s: the window's width.
inline void taps_of_plane(const float* padded, const Padded& form, const Taps& down, const Taps& across, const float* w,
                          Size s, Size height, Size width, float* to, Size to_down, Size to_across) {
  for (Size y = 0; y < height; y++) {
    for (Size x = 0; x < width; x += kWidth) {
      Vector sum = {};
      for (Size i = 0; i < down.count; i++) {
        const Size row = form.top + y * down.stride + down.first + i * down.step;
        const float* from = padded + row * form.pitch + form.left + x * across.stride + across.first;
        const float* weights = w + (down.at + i * down.pace) * s + across.at;
        for (Size j = 0; j < across.count; j++) {
          sum += weights[j * across.pace] * load_apart(from + j * across.step, across.stride);
        }
      }
      const Size some = std::min(kWidth, width - x);
      float* out = to + y * to_down + x * to_across;
      if (to_across == 1) store_some(out, sum, some);
      else for (Size i = 0; i < some; i++) out[i * to_across] = sum[i];
    }
  }
}

// y += b, perhaps through relu, for `count` floats of each of `rows` planes.
inline void finish(float* y, Size plane, Size rows, Size count, const float* bias, bool relu, float slope) {
  if (!bias && !relu) return;
  for (Size i = 0; i < rows; i++, y += plane) {
    const float b = bias ? bias[i] : 0.f;
    for (Size j = 0; j < count; j++) {
      const float value = y[j] + b;
      y[j] = relu && !(value > 0.f) ? slope * value : value;
    }
  }
}

inline void forward(const Problem& g, const float* x, const float* w, const float* bias, float* y, bool relu,
                    float slope, float* workspace, Size size) {
  const Taps down = g.taps_h(), across = g.taps_w();
  const Size block = g.single() ? g.p : Problem::rows_of(g.q, g.p, kColumns), blocks = (g.p + block - 1) / block;
#pragma omp parallel num_threads(g.threads(size))
  {
    float* piece = workspace + g.shared() + omp_get_thread_num() * g.own();
#pragma omp for collapse(3) schedule(dynamic)
    for (Size image = 0; image < g.n; image++) {
      for (Size group = 0; group < g.group; group++) {
        for (Size i = 0; i < blocks; i++) {
          const Size begin = i * block, end = std::min(begin + block, g.p), first = group * g.outputs();
          const float *from = x + (image * g.c + group * g.inputs()) * g.h * g.w, *weights = w + first * g.depth();
          float* to = y + (image * g.k + first) * g.p * g.q;
          if (g.single()) {
            const Padded form(down, across, g.h, g.w, g.p, g.q);
            form.fill(from, g.h, g.w, piece);
            taps_of_plane(piece, form, down, across, weights, g.s, g.p, g.q, to, g.q, 1);
          } else {
            const Place place{to, g.p * g.q, g.q, begin, g.q, 1};
            product(weights, g.outputs(), g.depth(), from, g.h, g.w, down, across, end, place, piece);
          }
          finish(to + begin * g.q, g.p * g.q, g.outputs(), (end - begin) * g.q, bias ? bias + first : nullptr, relu, slope);
        }
      }
    }
  }
}

// The windows that a pair of phases meets, turned: to (c/group, k/group, taps) of each group.
inline void turn(const Problem& g, const float* w, const Taps& down, const Taps& across, float* to) {
#pragma omp for schedule(static)
  for (Size c = 0; c < g.c; c++) {
    const Size group = c / g.inputs(), input = c % g.inputs();
    float* out = to + c * g.outputs() * down.count * across.count;
    for (Size k = 0; k < g.outputs(); k++) {
      const float* window = w + ((group * g.outputs() + k) * g.inputs() + input) * g.window();
      for (Size i = 0; i < down.count; i++) {
        for (Size j = 0; j < across.count; j++) {
          *out++ = window[(down.at + i * down.pace) * g.s + across.at + j * across.pace];
        }
      }
    }
  }
}

inline void backward_data(const Problem& g, const float* w, const float* dy, float* dx, float* workspace, Size size) {
#pragma omp parallel num_threads(g.threads(size))
  {
    float *turned = workspace, *piece = workspace + g.shared() + omp_get_thread_num() * g.own();
    for (Size phase = 0; phase < std::min(g.stride_h, g.h) * std::min(g.stride_w, g.w); phase++) {
      const Size left = phase % std::min(g.stride_w, g.w), top = phase / std::min(g.stride_w, g.w);
      const Size height = (g.h - top + g.stride_h - 1) / g.stride_h, width = (g.w - left + g.stride_w - 1) / g.stride_w;
      const Taps down = g.back_h(top), across = g.back_w(left);
      const Size depth = g.outputs() * down.count * across.count;
      if (depth && !g.single()) turn(g, w, down, across, turned);
      const Size block = g.single() ? height : Problem::rows_of(width, height, kColumns), blocks = (height + block - 1) / block;
#pragma omp for collapse(3) schedule(dynamic)
      for (Size image = 0; image < g.n; image++) {
        for (Size group = 0; group < g.group; group++) {
          for (Size i = 0; i < blocks; i++) {
            const Size begin = i * block, end = std::min(begin + block, height);
            const float* from = dy + (image * g.k + group * g.outputs()) * g.p * g.q;
            float* to = dx + (image * g.c + group * g.inputs()) * g.h * g.w + top * g.w + left;
            if (!depth) {  // no tap meets this phase
              for (Size c = 0; c < g.inputs(); c++) {
                for (Size row = begin; row < end; row++) {
                  float* line = to + (c * g.h + row * g.stride_h) * g.w;
                  for (Size j = 0; j < width; j++) line[j * g.stride_w] = 0.f;
                }
              }
            } else if (g.single()) {
              const Padded form(down, across, g.p, g.q, height, width);
              form.fill(from, g.p, g.q, piece);
              taps_of_plane(piece, form, down, across, w + group * g.window(), g.s, height, width, to, g.stride_h * g.w,
                            g.stride_w);
            } else {
              const Place place{to, g.h * g.w, width, begin, g.stride_h * g.w, g.stride_w};
              const float* weights = turned + group * g.inputs() * depth;
              product(weights, g.inputs(), depth, from, g.p, g.q, down, across, end, place, piece);
            }
          }
        }
      }
    }
  }
}

// A piece of a matrix (rows, columns) to (columns, rows).
inline void transpose_piece(const float* from, Size pitch, Size rows, Size columns, float* to, Size to_pitch) {
  for (Size i = 0; i < rows; i += kWidth) {
    for (Size j = 0; j < columns; j += kWidth) {
      Vector block[8];
      for (Size k = 0; k < kWidth; k++) block[k] = i + k < rows ? load(from + (i + k) * pitch + j) : (Vector){};
      transpose(block);
      for (Size k = 0; k < std::min(kWidth, columns - j); k++) store(to + (j + k) * to_pitch + i, block[k]);
    }
  }
}

// dw (k, c/group, r, s) += the gradient.
inline void backward_weights(const Problem& g, const float* x, const float* dy, float* dw, float* workspace, Size size) {
  const Taps down = g.taps_h(), across = g.taps_w();
  const Size chunks = g.single() ? 1 : (g.depth() + kChunk - 1) / kChunk, block = Problem::rows_of(g.q, g.p, kSpan);
#pragma omp parallel num_threads(g.threads(size))
  {
    float* piece = workspace + g.shared() + omp_get_thread_num() * g.own();
#pragma omp for collapse(2) schedule(dynamic)
    for (Size group = 0; group < g.group; group++) {
      for (Size chunk = 0; chunk < chunks; chunk++) {
        const Size first = chunk * kChunk, last = std::min(first + kChunk, g.depth());
        for (Size image = 0; image < g.n; image++) {
          const float* from = x + (image * g.c + group * g.inputs()) * g.h * g.w;
          const float* top = dy + (image * g.k + group * g.outputs()) * g.p * g.q;
          if (g.single()) {
            const Padded form(down, across, g.h, g.w, g.p, g.q);
            form.fill(from, g.h, g.w, piece);
            for (Size tap = 0; tap < g.window(); tap++) {
              double total = 0;
              for (Size row = 0; row < g.p; row++) {
                const Size source = form.top + row * g.stride_h - g.pad_h + tap / g.s * g.dilation_h;
                const float* line = piece + source * form.pitch + form.left - g.pad_w + tap % g.s * g.dilation_w;
                Vector sum = {};
                for (Size j = 0; j < g.q; j += kWidth) {
                  sum += load_some(top + row * g.q + j, std::min(kWidth, g.q - j)) *
                         load_apart(line + j * g.stride_w, g.stride_w);
                }
                total += sum_lanes(sum);
              }
              dw[group * g.window() + tap] += (float)total;
            }
            continue;
          }
          for (Size begin = 0; begin < g.p; begin += block) {
            const Size end = std::min(begin + block, g.p), count = (end - begin) * g.q, pitch = Problem::pitch(count);
            unfold(from, g.h, g.w, down, across, first, last, begin, end, g.q, piece, pitch);
            float* turned = piece + kChunk * pitch;
            transpose_piece(piece, pitch, last - first, count, turned, Problem::pitch(kChunk));
            const Place place{dw + group * g.outputs() * g.depth() + first, g.depth(), last - first, 0, last - first, 1};
            columns(top + begin * g.q, g.p * g.q, turned, Problem::pitch(kChunk), g.outputs(), count, last - first, true,
                    place);
          }
        }
      }
    }
  }
}

}  // namespace direct

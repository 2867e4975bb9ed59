// The loops of the CPU backend that numpy and BLAS do not do well.
//
// Arrays come as C-contiguous numpy arrays whose dtype and shape the Python side has checked; dimensions come as
// numbers. The GIL is released while a loop runs. Sums are made in an order that depends on shapes alone: each OpenMP
// iteration writes places of its own, and a sum over iterations is added up afterwards, one after the other, in double.

#include <omp.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

namespace py = pybind11;

using Floats = py::array_t<float, py::array::c_style>;
using Ints = py::array_t<int32_t, py::array::c_style>;
using Longs = py::array_t<int64_t, py::array::c_style>;
using Bytes = py::array_t<uint8_t, py::array::c_style>;
using Size = int64_t;

namespace {

constexpr Size kChunk = 1 << 14;  // elements of one partial sum at least
constexpr Size kChunks = 4096;    // partial sums at most: they lie on the stack, nothing here asks for memory

const float* in(const Floats& a) { return a.data(); }
float* out(Floats& a) { return a.mutable_data(); }

// Elements of a chunk: of the count alone, and so many that there are no more than kChunks.
Size chunk_of(Size count) { return std::max(kChunk, (count + kChunks - 1) / kChunks); }

// Runs f(begin, end) over 0 .. count in chunks.
template <class F>
void in_chunks(Size count, F f) {
  const Size size = chunk_of(count), chunks = (count + size - 1) / size;
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (Size i = 0; i < chunks; ++i) {
    const F own = f;  // threads share f: for all the compiler knows, what f stores changes f, and no loop vectorises
    own(i * size, std::min(count, (i + 1) * size));
  }
}

// Sum of f(begin, end) over the chunks, added in their order.
template <class F>
double sum_chunks(Size count, F f) {
  const Size size = chunk_of(count), chunks = (count + size - 1) / size;
  double parts[kChunks];
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (Size i = 0; i < chunks; ++i) parts[i] = f(i * size, std::min(count, (i + 1) * size));
  return std::accumulate(parts, parts + chunks, 0.0);
}

// Sum of f(i) over begin .. end, eight numbers side by side: one after the other would wait for each addition.
template <class F>
double side_by_side(Size begin, Size end, F f) {
  double sums[8] = {};
  Size i = begin;
  for (; i + 8 <= end; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += f(i + lane);
  }
  for (; i < end; ++i) sums[0] += f(i);
  return std::accumulate(sums, sums + 8, 0.0);
}

// ---- convolution: one image a call; the Python side gives images to threads

struct Window {
  Size r, s, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
};

// First and past-the-last output column whose input column lies inside the image.
void inside(Size w, Size q, Size offset, Size stride, Size& begin, Size& end) {
  begin = offset < 0 ? std::min(q, (-offset + stride - 1) / stride) : 0;
  end = offset >= w ? 0 : std::min(q, (w - 1 - offset) / stride + 1);
  end = std::max(begin, end);
}

// x (c,h,w) -> col (c*r*s, p*q)
void im2col(const Floats& xs, Size image, Floats& cols, Size c, Size h, Size w, Size p, Size q, const Window& k) {
  const float* x = in(xs) + image * c * h * w;
  float* col = out(cols);
  py::gil_scoped_release release;
  for (Size row = 0; row < c * k.r * k.s; ++row) {
    const Size j = row % k.s, i = row / k.s % k.r, channel = row / (k.s * k.r);
    const Size left = j * k.dilation_w - k.pad_w;
    Size begin, end;
    inside(w, q, left, k.stride_w, begin, end);
    float* to = col + row * p * q;
    for (Size y = 0; y < p; ++y, to += q) {
      const Size line = y * k.stride_h + i * k.dilation_h - k.pad_h;
      if (line < 0 || line >= h || begin >= end) {
        std::fill(to, to + q, 0.0f);
        continue;
      }
      const float* from = x + (channel * h + line) * w + left;
      std::fill(to, to + begin, 0.0f);
      if (k.stride_w == 1) {
        std::copy(from + begin, from + end, to + begin);
      } else {
        for (Size z = begin; z < end; ++z) to[z] = from[z * k.stride_w];
      }
      std::fill(to + end, to + q, 0.0f);
    }
  }
}

// col (c*r*s, p*q) -> x (c,h,w), assigned: the sum of all places of col that read it
void col2im(Floats& xs, Size image, const Floats& cols, Size c, Size h, Size w, Size p, Size q, const Window& k) {
  const float* col = in(cols);
  float* x = out(xs) + image * c * h * w;
  py::gil_scoped_release release;
  for (Size channel = 0; channel < c; ++channel) {
    float* plane = x + channel * h * w;
    std::fill(plane, plane + h * w, 0.0f);
    for (Size i = 0; i < k.r; ++i) {
      for (Size j = 0; j < k.s; ++j) {
        const float* from = col + ((channel * k.r + i) * k.s + j) * p * q;
        const Size left = j * k.dilation_w - k.pad_w;
        Size begin, end;
        inside(w, q, left, k.stride_w, begin, end);
        for (Size y = 0; y < p; ++y, from += q) {
          const Size line = y * k.stride_h + i * k.dilation_h - k.pad_h;
          if (line < 0 || line >= h) continue;
          float* to = plane + line * w + left;
          if (k.stride_w == 1) {
            for (Size z = begin; z < end; ++z) to[z] += from[z];
          } else {
            for (Size z = begin; z < end; ++z) to[z * k.stride_w] += from[z];
          }
        }
      }
    }
  }
}

// y (n,k,pq) += b (k), then relu if `relu`
void bias_relu(Floats& ys, const py::object& bias, Size n, Size k, Size pq, bool relu, float slope) {
  float* y = out(ys);
  const float* b = bias.is_none() ? nullptr : in(bias.cast<Floats>());
  if (!b && !relu) return;
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size row = 0; row < n * k; ++row) {
    float* to = y + row * pq;
    const float add = b ? b[row % k] : 0.0f;
    if (relu) {
      for (Size i = 0; i < pq; ++i) {
        const float value = to[i] + add;
        to[i] = value > 0 ? value : slope * value;
      }
    } else {
      for (Size i = 0; i < pq; ++i) to[i] += add;
    }
  }
}

// db (k) += sum over n and pq of dy (n,k,pq)
void bias_backward(const Floats& dys, Floats& dbs, Size n, Size k, Size pq) {
  const float* dy = in(dys);
  float* db = out(dbs);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size channel = 0; channel < k; ++channel) {
    double sum = 0;
    for (Size image = 0; image < n; ++image) {
      sum += side_by_side(0, pq, [from = dy + (image * k + channel) * pq](Size i) { return double{from[i]}; });
    }
    db[channel] += static_cast<float>(sum);
  }
}

// ---- pooling

struct Pooling {
  Size h, w, p, q, r, s, stride_h, stride_w, pad_h, pad_w;
};

void pool_max_forward(const Floats& xs, Floats& ys, Ints& argmaxes, Size planes, const Pooling& k) {
  const float* x = in(xs);
  float* y = out(ys);
  int32_t* argmax = argmaxes.mutable_data();
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size plane = 0; plane < planes; ++plane) {
    const float* from = x + plane * k.h * k.w;
    Size at = plane * k.p * k.q;
    for (Size i = 0; i < k.p; ++i) {
      const Size top = std::max<Size>(i * k.stride_h - k.pad_h, 0);
      const Size bottom = std::min(i * k.stride_h - k.pad_h + k.r, k.h);
      for (Size j = 0; j < k.q; ++j, ++at) {
        const Size left = std::max<Size>(j * k.stride_w - k.pad_w, 0);
        const Size right = std::min(j * k.stride_w - k.pad_w + k.s, k.w);
        float best = -FLT_MAX;
        int32_t where = -1;
        for (Size u = top; u < bottom; ++u) {
          for (Size v = left; v < right; ++v) {
            const float value = from[u * k.w + v];
            if (value > best) {
              best = value;
              where = static_cast<int32_t>(u * k.w + v);
            }
          }
        }
        y[at] = best;
        argmax[at] = where;
      }
    }
  }
}

void pool_max_backward(const Floats& dys, const Ints& argmaxes, Floats& dxs, Size planes, Size hw, Size pq) {
  const float* dy = in(dys);
  const int32_t* argmax = argmaxes.data();
  float* dx = out(dxs);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size plane = 0; plane < planes; ++plane) {
    float* to = dx + plane * hw;
    std::fill(to, to + hw, 0.0f);
    for (Size i = plane * pq; i < (plane + 1) * pq; ++i) {
      if (argmax[i] >= 0) to[argmax[i]] += dy[i];
    }
  }
}

// Calls f(output index, first input row, past last, first column, past last, divisor) for each window of a plane.
template <class F>
void ave_windows(const Pooling& k, F f) {
  for (Size i = 0; i < k.p; ++i) {
    const Size top = i * k.stride_h - k.pad_h;
    const Size bottom = std::min(top + k.r, k.h + k.pad_h);
    for (Size j = 0; j < k.q; ++j) {
      const Size left = j * k.stride_w - k.pad_w;
      const Size right = std::min(left + k.s, k.w + k.pad_w);
      const float divisor = static_cast<float>((bottom - top) * (right - left));
      f(i * k.q + j, std::max<Size>(top, 0), std::min(bottom, k.h), std::max<Size>(left, 0), std::min(right, k.w),
        divisor);
    }
  }
}

void pool_ave_forward(const Floats& xs, Floats& ys, Size planes, const Pooling& k) {
  const float* x = in(xs);
  float* y = out(ys);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size plane = 0; plane < planes; ++plane) {
    const float* from = x + plane * k.h * k.w;
    float* to = y + plane * k.p * k.q;
    ave_windows(k, [&](Size at, Size top, Size bottom, Size left, Size right, float divisor) {
      float sum = 0;
      for (Size u = top; u < bottom; ++u)
        for (Size v = left; v < right; ++v) sum += from[u * k.w + v];
      to[at] = sum / divisor;
    });
  }
}

void pool_ave_backward(const Floats& dys, Floats& dxs, Size planes, const Pooling& k) {
  const float* dy = in(dys);
  float* dx = out(dxs);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size plane = 0; plane < planes; ++plane) {
    const float* from = dy + plane * k.p * k.q;
    float* to = dx + plane * k.h * k.w;
    std::fill(to, to + k.h * k.w, 0.0f);
    ave_windows(k, [&](Size at, Size top, Size bottom, Size left, Size right, float divisor) {
      const float share = from[at] / divisor;
      for (Size u = top; u < bottom; ++u)
        for (Size v = left; v < right; ++v) to[u * k.w + v] += share;
    });
  }
}

// ---- local response normalisation

// base ** -beta; 0.75 is what every published net has, and two roots are far faster than pow
float power(float base, float beta) {
  if (beta == 0.75f) {
    const float root = std::sqrt(base);
    return 1.0f / (root * std::sqrt(root));
  }
  return std::pow(base, -beta);
}

// to = base^-beta. The usual beta has a loop of its own, which the compiler makes vectors of.
void powers(const float* base, Size count, float beta, float* to) {
  if (beta != 0.75f) {
    for (Size i = 0; i < count; ++i) to[i] = std::pow(base[i], -beta);
    return;
  }
  for (Size i = 0; i < count; ++i) {
    const float root = std::sqrt(base[i]);
    to[i] = 1.0f / (root * std::sqrt(root));
  }
}

constexpr Size kColumns = 256;  // of a plane at a time: what all channels have there stays in L2

// Runs f(image, channel, begin, some) over all channels of a piece of the planes, then over those of the next.
template <class F>
void by_columns(Size n, Size c, Size hw, F f) {
  const Size pieces = (hw + kColumns - 1) / kColumns;
#pragma omp parallel for collapse(2) schedule(static)
  for (Size image = 0; image < n; ++image) {
    for (Size piece = 0; piece < pieces; ++piece) {
      const F own = f;  // see in_chunks
      const Size begin = piece * kColumns, some = std::min(kColumns, hw - begin);
      for (Size channel = 0; channel < c; ++channel) own(image, channel, begin, some);
    }
  }
}

void lrn_across_forward(const Floats& xs, Floats& ys, Floats& scales, Size n, Size c, Size hw, Size size, float alpha,
                        float beta, float k) {
  const float* x = in(xs);
  float* y = out(ys);
  float* scale = out(scales);
  const Size half = (size - 1) / 2;
  const float factor = alpha / static_cast<float>(size);
  py::gil_scoped_release release;
  by_columns(n, c, hw, [=](Size image, Size channel, Size begin, Size some) {
    const float* from = x + image * c * hw + begin;
    const Size at = (image * c + channel) * hw + begin;
    float sum[kColumns] = {}, power[kColumns];
    for (Size other = std::max<Size>(channel - half, 0); other <= std::min(channel + half, c - 1); ++other) {
      const float* line = from + other * hw;
      for (Size i = 0; i < some; ++i) sum[i] += line[i] * line[i];
    }
    for (Size i = 0; i < some; ++i) scale[at + i] = k + factor * sum[i];
    powers(scale + at, some, beta, power);
    for (Size i = 0; i < some; ++i) y[at + i] = x[at + i] * power[i];
  });
}

void lrn_across_backward(const Floats& xs, const Floats& ys, const Floats& scales, const Floats& dys, Floats& dxs,
                         Size n, Size c, Size hw, Size size, float alpha, float beta) {
  const float *x = in(xs), *y = in(ys), *scale = in(scales), *dy = in(dys);
  float* dx = out(dxs);
  const Size half = (size - 1) / 2;
  const float factor = 2.0f * alpha * beta / static_cast<float>(size);
  py::gil_scoped_release release;
  by_columns(n, c, hw, [=](Size image, Size channel, Size begin, Size some) {
    const Size at = (image * c + channel) * hw + begin;
    float sum[kColumns] = {}, power[kColumns];
    for (Size other = std::max<Size>(channel - half, 0); other <= std::min(channel + half, c - 1); ++other) {
      const Size from = (image * c + other) * hw + begin;
      for (Size i = 0; i < some; ++i) sum[i] += dy[from + i] * y[from + i] / scale[from + i];
    }
    powers(scale + at, some, beta, power);
    for (Size i = 0; i < some; ++i) dx[at + i] = dy[at + i] * power[i] - factor * x[at + i] * sum[i];
  });
}

// Sum of f(place) over the size x size cells around (i, j) that lie inside the plane.
template <class F>
float around(Size i, Size j, Size h, Size w, Size half, F f) {
  float sum = 0;
  for (Size u = std::max<Size>(i - half, 0); u <= std::min(i + half, h - 1); ++u)
    for (Size v = std::max<Size>(j - half, 0); v <= std::min(j + half, w - 1); ++v) sum += f(u * w + v);
  return sum;
}

void lrn_within_forward(const Floats& xs, Floats& ys, Floats& scales, Size planes, Size h, Size w, Size size,
                        float alpha, float beta) {
  const float* x = in(xs);
  float* y = out(ys);
  float* scale = out(scales);
  const float factor = alpha / static_cast<float>(size * size);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size plane = 0; plane < planes; ++plane) {
    const float* from = x + plane * h * w;
    for (Size i = 0; i < h; ++i) {
      for (Size j = 0; j < w; ++j) {
        const Size at = plane * h * w + i * w + j;
        scale[at] = 1.0f + factor * around(i, j, h, w, (size - 1) / 2, [&](Size o) { return from[o] * from[o]; });
        y[at] = x[at] * power(scale[at], beta);
      }
    }
  }
}

void lrn_within_backward(const Floats& xs, const Floats& ys, const Floats& scales, const Floats& dys, Floats& dxs,
                         Size planes, Size h, Size w, Size size, float alpha, float beta) {
  const float *x = in(xs), *y = in(ys), *scale = in(scales), *dy = in(dys);
  float* dx = out(dxs);
  const float factor = 2.0f * alpha * beta / static_cast<float>(size * size);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size plane = 0; plane < planes; ++plane) {
    const Size start = plane * h * w;
    for (Size i = 0; i < h; ++i) {
      for (Size j = 0; j < w; ++j) {
        const Size at = start + i * w + j;
        const float sum = around(i, j, h, w, (size - 1) / 2, [&](Size o) {
          return dy[start + o] * y[start + o] / scale[start + o];
        });
        dx[at] = dy[at] * power(scale[at], beta) - factor * x[at] * sum;
      }
    }
  }
}

// ---- elementwise

void relu_forward(const Floats& xs, Floats& ys, float slope) {
  const float* x = in(xs);
  float* y = out(ys);
  const Size count = xs.size();
  py::gil_scoped_release release;
  in_chunks(count, [=](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) y[i] = x[i] > 0 ? x[i] : slope * x[i];
  });
}

void relu_backward(const Floats& xs, const Floats& dys, Floats& dxs, float slope) {
  const float *x = in(xs), *dy = in(dys);
  float* dx = out(dxs);
  const Size count = xs.size();
  py::gil_scoped_release release;
  in_chunks(count, [=](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) dx[i] = dy[i] * (x[i] > 0 ? 1.0f : slope);
  });
}

// Philox4x32-10: Salmon et al. 2011; the same numbers as kernels/philox.py
void philox(uint32_t x[4], uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * x[0], b = uint64_t{0xCD9E8D57} * x[2];
    const uint32_t next[4] = {static_cast<uint32_t>(b >> 32) ^ x[1] ^ key0, static_cast<uint32_t>(b),
                              static_cast<uint32_t>(a >> 32) ^ x[3] ^ key1, static_cast<uint32_t>(a)};
    std::copy(next, next + 4, x);
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
}

// y = x * scale where kept. `first`: number of x's first element in the whole batch.
void dropout(const Floats& xs, Floats& ys, uint64_t seed, uint64_t draw, uint64_t layer, uint64_t purpose, Size first,
             uint64_t threshold, float scale) {
  const float* x = in(xs);
  float* y = out(ys);
  const Size count = xs.size();
  py::gil_scoped_release release;
  const Size begin = first / 4, end = (first + count + 3) / 4;
  in_chunks(end - begin, [=](Size from, Size to) {
    for (Size group = begin + from; group < begin + to; ++group) {
      uint32_t words[4] = {static_cast<uint32_t>(group), static_cast<uint32_t>(draw), static_cast<uint32_t>(layer),
                           static_cast<uint32_t>(purpose)};
      philox(words, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
      for (Size lane = 0; lane < 4; ++lane) {
        const Size at = group * 4 + lane - first;
        if (at >= 0 && at < count) y[at] = words[lane] >= threshold ? x[at] * scale : 0.0f;
      }
    }
  });
}

// ---- softmax and what follows it

void softmax_forward(const Floats& xs, Floats& ys, Size outer, Size c, Size inner) {
  const float* x = in(xs);
  float* y = out(ys);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size o = 0; o < outer; ++o) {
    for (Size i = 0; i < inner; ++i) {
      const Size base = o * c * inner + i;
      float largest = x[base];
      for (Size j = 1; j < c; ++j) largest = std::max(largest, x[base + j * inner]);
      double sum = 0;
      for (Size j = 0; j < c; ++j) {
        const float value = std::exp(x[base + j * inner] - largest);
        y[base + j * inner] = value;
        sum += value;
      }
      const float factor = static_cast<float>(1.0 / sum);
      for (Size j = 0; j < c; ++j) y[base + j * inner] *= factor;
    }
  }
}

void softmax_backward(const Floats& ys, const Floats& dys, Floats& dxs, Size outer, Size c, Size inner) {
  const float *y = in(ys), *dy = in(dys);
  float* dx = out(dxs);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size o = 0; o < outer; ++o) {
    for (Size i = 0; i < inner; ++i) {
      const Size base = o * c * inner + i;
      double dot = 0;
      for (Size j = 0; j < c; ++j) dot += double{dy[base + j * inner]} * y[base + j * inner];
      const float mean = static_cast<float>(dot);
      for (Size j = 0; j < c; ++j) dx[base + j * inner] = (dy[base + j * inner] - mean) * y[base + j * inner];
    }
  }
}

constexpr Size kIgnored = -1, kInvalid = -2;

// The class that a label names; kIgnored, or kInvalid for what is no class.
Size class_of(float label, Size c, bool ignoring, double ignore_label) {
  if (ignoring && double{label} == ignore_label) return kIgnored;
  return label >= 0 && label < static_cast<float>(c) && label == std::floor(label) ? static_cast<Size>(label)
                                                                                   : kInvalid;
}

double count_labels(const Floats& labels, double ignore_label) {
  const float* label = in(labels);
  const Size count = labels.size();
  py::gil_scoped_release release;
  return sum_chunks(count, [=](Size begin, Size end) {
    double some = 0;
    for (Size i = begin; i < end; ++i) some += double{label[i]} != ignore_label;
    return some;
  });
}

// Sum of -log(max(prob of the label, FLT_MIN)); NaN if a label is no class
double loss_sum(const Floats& probs, const Floats& labels, Size outer, Size c, Size inner, bool ignoring,
                double ignore_label) {
  const float *prob = in(probs), *label = in(labels);
  py::gil_scoped_release release;
  return sum_chunks(outer * inner, [=](Size begin, Size end) {
    double sum = 0;
    for (Size at = begin; at < end; ++at) {
      const Size which = class_of(label[at], c, ignoring, ignore_label);
      if (which == kInvalid) return std::numeric_limits<double>::quiet_NaN();
      if (which == kIgnored) continue;
      const float p = prob[(at / inner * c + which) * inner + at % inner];
      sum -= std::log(double{std::isnan(p) ? p : std::max(p, FLT_MIN)});
    }
    return sum;
  });
}

void loss_backward(const Floats& probs, const Floats& labels, Floats& dxs, Size outer, Size c, Size inner,
                   bool ignoring, double ignore_label, float factor) {
  const float *prob = in(probs), *label = in(labels);
  float* dx = out(dxs);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size at = 0; at < outer * inner; ++at) {
    const Size which = class_of(label[at], c, ignoring, ignore_label);
    const Size base = at / inner * c * inner + at % inner;
    for (Size j = 0; j < c; ++j) {
      const float hit = j == which ? 1.0f : 0.0f;
      dx[base + j * inner] = which == kIgnored ? 0.0f : (prob[base + j * inner] - hit) * factor;
    }
  }
}

// right[at] = 1 if the label is among the top_k scores, 0 if not, -1 if ignored, NaN if it is no class
void rank_labels(const Floats& xs, const Floats& labels, Floats& rights, Size outer, Size c, Size inner, Size top_k,
                 bool ignoring, double ignore_label) {
  const float *x = in(xs), *label = in(labels);
  float* right = out(rights);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size at = 0; at < outer * inner; ++at) {
    const Size which = class_of(label[at], c, ignoring, ignore_label);
    if (which < 0) {
      right[at] = which == kIgnored ? -1.0f : std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    const Size base = at / inner * c * inner + at % inner;
    const float own = x[base + which * inner];
    Size better = 0;
    // Written so that a NaN score counts as better too.
    for (Size j = 0; j < c; ++j) better += j != which && !(x[base + j * inner] < own);
    right[at] = better < top_k ? 1.0f : 0.0f;
  }
}

// ---- eltwise max

void max_first(const Floats& as, const Floats& bs, Floats& ys, Ints& argmaxes) {
  const float *a = in(as), *b = in(bs);
  float* y = out(ys);
  int32_t* argmax = argmaxes.mutable_data();
  const Size count = as.size();
  py::gil_scoped_release release;
  in_chunks(count, [=](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) {
      argmax[i] = a[i] > b[i] ? 0 : 1;
      y[i] = a[i] > b[i] ? a[i] : b[i];
    }
  });
}

void max_next(const Floats& xs, Floats& ys, Ints& argmaxes, int32_t index) {
  const float* x = in(xs);
  float* y = out(ys);
  int32_t* argmax = argmaxes.mutable_data();
  const Size count = xs.size();
  py::gil_scoped_release release;
  in_chunks(count, [=](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) {
      if (x[i] > y[i]) {
        y[i] = x[i];
        argmax[i] = index;
      }
    }
  });
}

void max_backward(const Floats& dys, const Ints& argmaxes, Floats& dxs, int32_t index) {
  const float* dy = in(dys);
  const int32_t* argmax = argmaxes.data();
  float* dx = out(dxs);
  const Size count = dys.size();
  py::gil_scoped_release release;
  in_chunks(count, [=](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) dx[i] = argmax[i] == index ? dy[i] : 0.0f;
  });
}

// ---- batch normalisation and scale: x (n,c,inner)

// mean and variance of each channel, in double
void moments(const Floats& xs, py::array_t<double>& means, py::array_t<double>& variances, Size n, Size c, Size inner) {
  const float* x = in(xs);
  double *mean = means.mutable_data(), *variance = variances.mutable_data();
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size channel = 0; channel < c; ++channel) {
    double sum = 0, squares = 0;
    for (Size image = 0; image < n; ++image) {
      const float* from = x + (image * c + channel) * inner;
      for (Size i = 0; i < inner; ++i) sum += from[i];
    }
    mean[channel] = sum / static_cast<double>(n * inner);
    for (Size image = 0; image < n; ++image) {
      const float* from = x + (image * c + channel) * inner;
      for (Size i = 0; i < inner; ++i) squares += (from[i] - mean[channel]) * (from[i] - mean[channel]);
    }
    variance[channel] = squares / static_cast<double>(n * inner);
  }
}

// y = g x + b by channel
void affine(const Floats& xs, const py::array_t<double>& gs, const py::array_t<double>& bs, Floats& ys, Size n, Size c,
            Size inner) {
  const float* x = in(xs);
  const double *g = gs.data(), *b = bs.data();
  float* y = out(ys);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size row = 0; row < n * c; ++row) {
    const double factor = g[row % c], shift = b[row % c];
    for (Size i = row * inner; i < (row + 1) * inner; ++i) y[i] = static_cast<float>(factor * x[i] + shift);
  }
}

// dx = (dy - mean(dy) - y mean(dy y)) / std, means over n and inner
void batch_norm_backward(const Floats& ys, const Floats& stds, const Floats& dys, Floats& dxs, Size n, Size c,
                         Size inner) {
  const float *y = in(ys), *std_ = in(stds), *dy = in(dys);
  float* dx = out(dxs);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size channel = 0; channel < c; ++channel) {
    double sum = 0, dot = 0;
    for (Size image = 0; image < n; ++image) {
      for (Size i = (image * c + channel) * inner; i < (image * c + channel + 1) * inner; ++i) {
        sum += dy[i];
        dot += double{dy[i]} * y[i];
      }
    }
    const double mean = sum / static_cast<double>(n * inner), slope = dot / static_cast<double>(n * inner);
    for (Size image = 0; image < n; ++image) {
      for (Size i = (image * c + channel) * inner; i < (image * c + channel + 1) * inner; ++i)
        dx[i] = static_cast<float>((dy[i] - mean - slope * y[i]) / std_[channel]);
    }
  }
}

// dg (c) += sum of dy x
void scale_backward(const Floats& xs, const Floats& dys, Floats& dgs, Size n, Size c, Size inner) {
  const float *x = in(xs), *dy = in(dys);
  float* dg = out(dgs);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size channel = 0; channel < c; ++channel) {
    double sum = 0;
    for (Size image = 0; image < n; ++image)
      for (Size i = (image * c + channel) * inner; i < (image * c + channel + 1) * inner; ++i)
        sum += double{dy[i]} * x[i];
    dg[channel] += static_cast<float>(sum);
  }
}

// ---- images

struct Images {
  Size n, c, h, w, mean_h, mean_w;
};

template <class Pixel>
void transform(const py::array_t<Pixel, py::array::c_style>& xs, const Ints& places, const py::object& means,
               Floats& ys, const Images& k, float scale) {
  const Pixel* x = xs.data();
  const int32_t* place = places.data();
  const float* mean = means.is_none() ? nullptr : in(means.cast<Floats>());
  const bool whole = k.mean_h * k.mean_w > 1;
  float* y = out(ys);
  py::gil_scoped_release release;
#pragma omp parallel for schedule(static)
  for (Size plane = 0; plane < k.n * k.c; ++plane) {
    const int32_t* at = place + plane / k.c * 3;
    const Size channel = plane % k.c;
    const float constant = mean && !whole ? mean[channel] : 0.0f;
    for (Size i = 0; i < k.h; ++i) {
      const Pixel* from = x + (plane * k.h + i) * k.w;
      const float* under = whole ? mean + (channel * k.mean_h + at[0] + i) * k.mean_w + at[1] : nullptr;
      float* to = y + (plane * k.h + i) * k.w;
      for (Size j = 0; j < k.w; ++j) {
        const float value = (static_cast<float>(from[j]) - (under ? under[j] : constant)) * scale;
        to[at[2] ? k.w - 1 - j : j] = value;
      }
    }
  }
}

// ---- arrays and the update

Size find_nonfinite(const Floats& xs) {
  const float* x = in(xs);
  const Size count = xs.size();
  py::gil_scoped_release release;
  const Size size = chunk_of(count);
  Size found[kChunks];
  std::fill(found, found + kChunks, -1);
  in_chunks(count, [&](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) {
      if (!std::isfinite(x[i])) {
        found[begin / size] = i;
        return;
      }
    }
  });
  for (Size at : found)
    if (at >= 0) return at;
  return -1;
}

double sum_of_squares(const Floats& xs) {
  const float* x = in(xs);
  const Size count = xs.size();
  py::gil_scoped_release release;
  return sum_chunks(count, [=](Size begin, Size end) {
    return side_by_side(begin, end, [x](Size i) { return double{x[i]} * x[i]; });
  });
}

void sgd_update(Floats& ws, const Floats& dws, Floats& histories, Size start, Size stop, float scale, float rate,
                float momentum, float l1, float l2) {
  float *w = out(ws) + start, *history = out(histories) + start;
  const float* dw = in(dws) + start;
  py::gil_scoped_release release;
  in_chunks(stop - start, [=](Size begin, Size end) {
    for (Size i = begin; i < end; ++i) {
      const float sign = static_cast<float>((w[i] > 0) - (w[i] < 0));
      const float gradient = scale * dw[i] + l2 * w[i] + l1 * sign;
      history[i] = momentum * history[i] + rate * gradient;
      w[i] -= history[i];
    }
  });
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  py::class_<Window>(m, "Window").def(py::init([](Size r, Size s, Size a, Size b, Size c, Size d, Size e, Size f) {
    return Window{r, s, a, b, c, d, e, f};
  }));
  py::class_<Pooling>(m, "Pooling")
      .def(py::init([](Size h, Size w, Size p, Size q, Size r, Size s, Size a, Size b, Size c, Size d) {
        return Pooling{h, w, p, q, r, s, a, b, c, d};
      }));
  py::class_<Images>(m, "Images").def(py::init([](Size n, Size c, Size h, Size w, Size mean_h, Size mean_w) {
    return Images{n, c, h, w, mean_h, mean_w};
  }));
  m.def("has_avx2", [] {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
  });
  m.def("set_threads", [](int count) { omp_set_num_threads(count); });
  m.def("im2col", &im2col);
  m.def("col2im", &col2im);
  m.def("bias_relu", &bias_relu);
  m.def("bias_backward", &bias_backward);
  m.def("pool_max_forward", &pool_max_forward);
  m.def("pool_max_backward", &pool_max_backward);
  m.def("pool_ave_forward", &pool_ave_forward);
  m.def("pool_ave_backward", &pool_ave_backward);
  m.def("lrn_across_forward", &lrn_across_forward);
  m.def("lrn_across_backward", &lrn_across_backward);
  m.def("lrn_within_forward", &lrn_within_forward);
  m.def("lrn_within_backward", &lrn_within_backward);
  m.def("relu_forward", &relu_forward);
  m.def("relu_backward", &relu_backward);
  m.def("dropout", &dropout);
  m.def("softmax_forward", &softmax_forward);
  m.def("softmax_backward", &softmax_backward);
  m.def("count_labels", &count_labels);
  m.def("loss_sum", &loss_sum);
  m.def("loss_backward", &loss_backward);
  m.def("rank_labels", &rank_labels);
  m.def("max_first", &max_first);
  m.def("max_next", &max_next);
  m.def("max_backward", &max_backward);
  m.def("moments", &moments);
  m.def("affine", &affine);
  m.def("batch_norm_backward", &batch_norm_backward);
  m.def("scale_backward", &scale_backward);
  m.def("transform_bytes", &transform<uint8_t>);
  m.def("transform_floats", &transform<float>);
  m.def("find_nonfinite", &find_nonfinite);
  m.def("sum_of_squares", &sum_of_squares);
  m.def("sgd_update", &sgd_update);
}

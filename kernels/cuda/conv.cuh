// Places of a convolution: of its image, its window and its output. Channels lie last.
#pragma once

// How places of the output and of the window map to places of the image.
struct Geometry {
    int h, w, c, cg;  // image: rows, columns, all channels, channels of a group
    int p, q, k, kg;  // the same of the output
    int r, s;         // window
    int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, zoom_h, zoom_w;

    // Where image `n` is read for row `y` and column `x` of the output and tap (i, j); -1: in the padding.
    __device__ int64 at(int n, int y, int x, int i, int j) const {
        int row = y * stride_h - pad_h + i * dilation_h, column = x * stride_w - pad_w + j * dilation_w;
        if (zoom_h > 1 || zoom_w > 1) {
            if (row % zoom_h || column % zoom_w) return -1;
            row /= zoom_h;
            column /= zoom_w;
        }
        if (row < 0 || row >= h || column < 0 || column >= w) return -1;
        return (((int64)n * h + row) * w + column) * c;
    }
};

// A tap and a channel of the window, moving along (r, s, c).
struct Tap {
    int i, j, c;

    __device__ Tap(const Geometry& g, int at) : i(at / g.cg / g.s), j(at / g.cg % g.s), c(at % g.cg) {}

    __device__ void move(const Geometry& g, int steps) {
        for (c += steps; c >= g.cg; c -= g.cg) {
            if (++j == g.s) j = 0, i++;
        }
    }
};

// Output pixel number `m`. Pooled, four neighbours make a window of 2 x 2: m = 4 window + 2 row + column.
struct Pixel {
    int n, y, x;

    __device__ Pixel(const Geometry& g, int64 m, bool pooled) {
        int p = g.p, q = g.q, within = 0;
        if (pooled) p /= 2, q /= 2, within = (int)(m % 4), m /= 4;
        x = (int)(m % q), m /= q;
        y = (int)(m % p), n = (int)(m / p);
        if (pooled) y = 2 * y + within / 2, x = 2 * x + within % 2;
    }
};

// x for one pixel and four (r, s, c) from `tap` on; 0 in the padding and behind the last tap.
template <bool VECTOR>
__device__ float4 gather(const Geometry& g, const float* x, const Pixel& pixel, bool valid, Tap tap) {
    float value[4];
#pragma unroll
    for (int e = 0; e < 4; e++) {
        value[e] = 0.f;
        if (valid && tap.i < g.r) {
            const int64 at = g.at(pixel.n, pixel.y, pixel.x, tap.i, tap.j);
            if (VECTOR) return at < 0 ? make_float4(0.f, 0.f, 0.f, 0.f) : *(const float4*)(x + at + tap.c);
            if (at >= 0) value[e] = x[at + tap.c];
        }
        tap.move(g, 1);
    }
    return make_float4(value[0], value[1], value[2], value[3]);
}

#define GEOMETRY                                                                                          \
    Geometry {                                                                                            \
        h, w, c, cg, p, q, k, kg, r, s, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, zoom_h, \
            zoom_w                                                                                        \
    }

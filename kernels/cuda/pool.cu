// Pooling in Caffe's geometry. Forward, a thread owns a cell of y and reads its window; backward, it owns a
// cell of dx and reads the windows that cover it, so nothing is added by two threads.

#include "common.cuh"

// x (n,c,h,w), y (n,c,p,q), windows of r x s.
struct Pooling {
    int h, w, p, q, r, s, stride_h, stride_w, pad_h, pad_w, c;
    bool last;  // channels last

    // Lines of an array whose planes are rows x columns: a plane of it, or, channels last, a row of an image.
    __device__ int64 lines(int64 n, int rows) const { return last ? n * rows : n * c; }
    __device__ int64 width(int rows, int columns) const { return (int64)columns * (last ? c : rows); }
};

// A cell of an array (n,c,rows,columns), found from its line and its place i in the line. It lies at `place`.
struct Cell {
    int64 image, place;
    int channel, row, column;

    __device__ Cell(const Pooling& g, int rows, int columns, int64 line, int64 i) {
        place = line * g.width(rows, columns) + i;
        image = line / (g.last ? rows : g.c);
        const int rest = (int)(line - image * (g.last ? rows : g.c));
        const int fast = g.last ? g.c : columns, quotient = (int)(i / fast), remainder = (int)(i % fast);
        row = g.last ? rest : quotient;
        column = g.last ? quotient : remainder;
        channel = g.last ? remainder : rest;
    }
};

// The plane of an image and a channel: its cell number i, row by row, lies at start + i * step.
struct Plane {
    int64 start, step;

    __device__ Plane(const Pooling& g, const Cell& cell, int rows, int columns) {
        const int64 cells = (int64)rows * columns;
        start = g.last ? cell.image * cells * g.c + cell.channel : (cell.image * g.c + cell.channel) * cells;
        step = g.last ? g.c : 1;
    }
    __device__ int64 at(int i) const { return start + i * step; }
};

// From `first` to before `end`.
struct Range {
    int first, end;
};

// Of `size` cells, those under window number i.
__device__ Range under(int i, int size, int window, int stride, int pad) {
    const int first = i * stride - pad;
    return {max(first, 0), min(first + window, size)};
}

// Of `count` windows, those that cover cell number i.
__device__ Range over(int i, int count, int window, int stride, int pad) {
    const int from = i + pad;
    return {from < window ? 0 : (from - window) / stride + 1, min(from / stride + 1, count)};
}

// Cells of window number i, those of the padding counted, but none beyond the padding.
__device__ int length(int i, int size, int window, int stride, int pad) {
    const int first = i * stride - pad;
    return min(first + window, size + pad) - first;
}

__device__ float divisor(const Pooling& g, int i, int j) {
    return (float)length(i, g.h, g.r, g.stride_h, g.pad_h) * (float)length(j, g.w, g.s, g.stride_w, g.pad_w);
}

// Calls f(cell) for this thread's cells of an array (n,c,rows,columns): blocks of the grid's x take lines,
// those of its y stretches of 256 in a line.
template <class F>
__device__ __forceinline__ void each_cell(const Pooling& g, int64 n, int rows, int columns, F f) {
    const int64 lines = g.lines(n, rows), width = g.width(rows, columns);
#pragma unroll 1
    for (int64 line = blockIdx.x; line < lines; line += gridDim.x) {
#pragma unroll 1
        for (int64 i = (int64)blockIdx.y * 256 + threadIdx.x; i < width; i += (int64)gridDim.y * 256) {
            f(Cell(g, rows, columns, line, i));
        }
    }
}

// Calls f(value, cell) for the window's cells, row by row, and perhaps f(absent, ..) at the end of a row.
// Three are read at once: loads that wait for no comparison. x: (planes of rows of w cells)
template <class F>
__device__ __forceinline__ void each_of_window(const float* x, const Plane& from, int w, Range rows,
                                               Range columns, float absent, F f) {
#pragma unroll 1
    for (int u = rows.first; u < rows.end; u++) {
#pragma unroll 1
        for (int v = columns.first; v < columns.end; v += 3) {
            const int cell = u * w + v, more = columns.end - v;
            const float a = x[from.at(cell)];
            const float b = more > 1 ? x[from.at(cell + 1)] : absent;
            const float c = more > 2 ? x[from.at(cell + 2)] : absent;
            f(a, cell);
            f(b, cell + 1);
            f(c, cell + 2);
        }
    }
}

// A window is read row by row; the first of equals stays. x: (n,c,h,w)  y, argmax: (n,c,p,q)
extern "C" __global__ void __launch_bounds__(256)
pool_max_forward(const float* x, float* y, int* argmax, long long n, int c, int h, int w, int p, int q,
                 int r, int s, int stride_h, int stride_w, int pad_h, int pad_w, int last) {
    const Pooling g{h, w, p, q, r, s, stride_h, stride_w, pad_h, pad_w, c, last != 0};
    each_cell(g, n, p, q, [=](const Cell& cell) {
        const Plane from(g, cell, h, w);
        const Range rows = under(cell.row, h, r, stride_h, pad_h);
        const Range columns = under(cell.column, w, s, stride_w, pad_w);
        float best = -LARGEST_FLOAT;
        int where = -1;
        each_of_window(x, from, w, rows, columns, -LARGEST_FLOAT, [&](float value, int at) {
            if (value > best) {
                best = value;
                where = at;
            }
        });
        y[cell.place] = best;
        argmax[cell.place] = where;
    });
}

// A cell takes dy of each window over it whose largest it was, in the windows' order.
// dy, argmax: (n,c,p,q)  dx: (n,c,h,w)
extern "C" __global__ void __launch_bounds__(256)
pool_max_backward(const float* dy, const int* argmax, float* dx, long long n, int c, int h, int w, int p,
                  int q, int r, int s, int stride_h, int stride_w, int pad_h, int pad_w, int last) {
    const Pooling g{h, w, p, q, r, s, stride_h, stride_w, pad_h, pad_w, c, last != 0};
    each_cell(g, n, h, w, [=](const Cell& cell) {
        const Plane from(g, cell, p, q);
        const Range rows = over(cell.row, p, r, stride_h, pad_h);
        const Range columns = over(cell.column, q, s, stride_w, pad_w);
        const int own = cell.row * w + cell.column;
        float sum = 0;
#pragma unroll 1
        for (int i = rows.first; i < rows.end; i++) {
#pragma unroll 1
            for (int j = columns.first; j < columns.end; j++) {
                const int64 at = from.at(i * q + j);
                const float value = dy[at];  // read beside argmax, not after it
                if (argmax[at] == own) sum += value;
            }
        }
        dx[cell.place] = sum;
    });
}

// x: (n,c,h,w)  y: (n,c,p,q)
extern "C" __global__ void __launch_bounds__(256)
pool_ave_forward(const float* x, float* y, long long n, int c, int h, int w, int p, int q, int r, int s,
                 int stride_h, int stride_w, int pad_h, int pad_w, int last) {
    const Pooling g{h, w, p, q, r, s, stride_h, stride_w, pad_h, pad_w, c, last != 0};
    each_cell(g, n, p, q, [=](const Cell& cell) {
        const Plane from(g, cell, h, w);
        const Range rows = under(cell.row, h, r, stride_h, pad_h);
        const Range columns = under(cell.column, w, s, stride_w, pad_w);
        float sum = 0;
        each_of_window(x, from, w, rows, columns, 0.0f, [&](float value, int) { sum += value; });
        y[cell.place] = sum / divisor(g, cell.row, cell.column);
    });
}

// dy: (n,c,p,q)  dx: (n,c,h,w)
extern "C" __global__ void __launch_bounds__(256)
pool_ave_backward(const float* dy, float* dx, long long n, int c, int h, int w, int p, int q, int r, int s,
                  int stride_h, int stride_w, int pad_h, int pad_w, int last) {
    const Pooling g{h, w, p, q, r, s, stride_h, stride_w, pad_h, pad_w, c, last != 0};
    each_cell(g, n, h, w, [=](const Cell& cell) {
        const Plane from(g, cell, p, q);
        const Range rows = over(cell.row, p, r, stride_h, pad_h);
        const Range columns = over(cell.column, q, s, stride_w, pad_w);
        float sum = 0;
#pragma unroll 1
        for (int i = rows.first; i < rows.end; i++) {
#pragma unroll 1
            for (int j = columns.first; j < columns.end; j++) {
                sum += dy[from.at(i * q + j)] / divisor(g, i, j);
            }
        }
        dx[cell.place] = sum;
    });
}

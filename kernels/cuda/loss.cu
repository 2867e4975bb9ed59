// Softmax, its loss, and accuracy, over the middle axis of (outer, c, inner).
//
// A position is a pair (outer, inner), numbered outer * inner_size + i. Where a position's numbers lie side
// by side, 32 lanes of a warp share it; else each thread has its own and neighbours read neighbours. Sums
// over positions: each block leaves one part, and one block adds the parts. How many blocks there are
// depends on the shape alone.

#include "common.cuh"

// The position that `lanes` threads work on: its numbers lie at base + j * step.
struct Row {
    int64 base, step;

    __device__ Row(const Form& form, int64 position) {
        base = form.place(position, 0);
        step = form.channel_step();
    }
    __device__ int64 at(int j) const { return base + j * step; }
};

// Sum, or largest, over the `lanes` (1 or 32) threads of a position; each has it.
template <class T>
__device__ __forceinline__ T lanes_sum(T value, int lanes) {
    for (int distance = lanes / 2; distance; distance /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    }
    return value;
}
__device__ __forceinline__ float lanes_max(float value, int lanes) {
    for (int distance = lanes / 2; distance; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
    }
    return value;
}

const int IGNORED = -1, INVALID = -2;

// The class that a label names; IGNORED, or INVALID for what is no class.
__device__ __forceinline__ int class_of(float label, int c, int ignoring, int ignore_label) {
    if (ignoring && (double)label == ignore_label) return IGNORED;
    return label >= 0 && label < (float)c && label == floorf(label) ? (int)label : INVALID;
}

// x, y: (outer,c,inner), may be the same: a thread writes what it alone reads
extern "C" __global__ void __launch_bounds__(256)
softmax_forward(const float* x, float* y, long long positions, int c, int inner, int last, int lanes) {
    const Form form{c, inner, last != 0};
    const int lane = threadIdx.x % lanes, bits = lanes == 32 ? 5 : 0;
#pragma unroll 1
    for (int64 position = first_element() >> bits; position < positions; position += element_step() >> bits) {
        const Row row(form, position);
        float largest = -LARGEST_FLOAT;
        for (int j = lane; j < c; j += lanes) largest = fmaxf(largest, x[row.at(j)]);
        largest = lanes_max(largest, lanes);
        double sum = 0;
#pragma unroll 1
        for (int j = lane; j < c; j += lanes) {
            const float value = expf(x[row.at(j)] - largest);
            y[row.at(j)] = value;
            sum += value;
        }
        const float factor = (float)(1.0 / lanes_sum(sum, lanes));
        for (int j = lane; j < c; j += lanes) y[row.at(j)] *= factor;
    }
}

// y, dy, dx: (outer,c,inner); dy and dx may be the same
extern "C" __global__ void __launch_bounds__(256)
softmax_backward(const float* y, const float* dy, float* dx, long long positions, int c, int inner, int last,
                 int lanes) {
    const Form form{c, inner, last != 0};
    const int lane = threadIdx.x % lanes, bits = lanes == 32 ? 5 : 0;
#pragma unroll 1
    for (int64 position = first_element() >> bits; position < positions; position += element_step() >> bits) {
        const Row row(form, position);
        double dot = 0;
        for (int j = lane; j < c; j += lanes) dot += (double)dy[row.at(j)] * y[row.at(j)];
        const float mean = (float)lanes_sum(dot, lanes);
        for (int j = lane; j < c; j += lanes) dx[row.at(j)] = (dy[row.at(j)] - mean) * y[row.at(j)];
    }
}

// label: (size)  parts: (blocks) double
extern "C" __global__ void __launch_bounds__(256)
count_labels_sums(const float* label, unsigned char* parts, int ignore_label, long long size) {
    __shared__ double shared[8];
    double some = 0;
#pragma unroll 1
    for (int64 i = first_element(); i < size; i += element_step()) some += (double)label[i] != ignore_label;
    some = block_sum(some, shared);
    if (threadIdx.x == 0) ((double*)parts)[blockIdx.x] = some;
}

// One block. parts: (chunks) double  count: (1)
extern "C" __global__ void __launch_bounds__(256)
count_labels(const unsigned char* parts, float* count, int chunks) {
    __shared__ double shared[8];
    const double some = parts_sum((const double*)parts, chunks, shared);
    if (threadIdx.x == 0) count[0] = (float)(some > 1 ? some : 1.0);
}

// Of each position -log of its label's prob; NaN for a label that is no class.
// prob: (outer,c,inner)  label: (outer,inner)  parts: (blocks) double
extern "C" __global__ void __launch_bounds__(256)
softmax_loss_sums(const float* prob, const float* label, unsigned char* parts, long long positions, int c,
                  int inner, int last, int ignoring, int ignore_label) {
    __shared__ double shared[8];
    const Form form{c, inner, last != 0};
    double sum = 0;
#pragma unroll 1
    for (int64 position = first_element(); position < positions; position += element_step()) {
        const int which = class_of(label[position], c, ignoring, ignore_label);
        if (which == INVALID) sum += not_a_number();
        if (which >= 0) {
            const float p = prob[Row(form, position).at(which)];
            sum -= log((double)(p < SMALLEST_FLOAT ? SMALLEST_FLOAT : p));
        }
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) ((double*)parts)[blockIdx.x] = sum;
}

// One block: y[0] = sum of the parts / count[0]. parts: (chunks) double  count, y: (1)
extern "C" __global__ void __launch_bounds__(256)
parts_over_count(const unsigned char* parts, const float* count, float* y, int chunks) {
    __shared__ double shared[8];
    const double sum = parts_sum((const double*)parts, chunks, shared);
    if (threadIdx.x == 0) y[0] = (float)(sum / count[0]);
}

// A thread owns elements of dx. prob, dx: (outer,c,inner)  label: (outer,inner)  dloss, count: (1)
extern "C" __global__ void __launch_bounds__(256)
softmax_loss_backward(const float* prob, const float* label, const float* dloss, const float* count,
                      float* dx, int c, int inner, int last, int ignoring, int ignore_label,
                      long long size) {
    const Form form{c, inner, last != 0};
    const float factor = (float)((double)dloss[0] / count[0]);
    assign(dx, size, [=](int64 i) {
        const int which = class_of(label[form.position(i)], c, ignoring, ignore_label);
        const float hit = form.channel(i) == which ? 1.0f : 0.0f;
        return which == IGNORED ? 0.0f : (prob[i] - hit) * factor;
    });
}

// How many of this lane's scores are not below the label's own; a NaN is not below. x: (outer,c,inner)
__device__ __forceinline__ int better(const float* x, const Row& row, int which, int c, int lane, int lanes) {
    const float own = x[row.at(which)];
    int count = 0;
    for (int j = lane; j < c; j += lanes) count += j != which && !(x[row.at(j)] < own);
    return count;
}

// Number of positions whose label is among the top_k scores. x: (outer,c,inner)  label: (outer,inner)
// parts: (blocks) double
extern "C" __global__ void __launch_bounds__(256)
accuracy_sums(const float* x, const float* label, unsigned char* parts, long long positions, int c, int inner,
              int last, int lanes, int top_k, int ignoring, int ignore_label) {
    __shared__ double shared[8];
    const Form form{c, inner, last != 0};
    const int lane = threadIdx.x % lanes, bits = lanes == 32 ? 5 : 0;
    double sum = 0;
#pragma unroll 1
    for (int64 position = first_element() >> bits; position < positions; position += element_step() >> bits) {
        const int which = class_of(label[position], c, ignoring, ignore_label);
        if (which == INVALID) sum += not_a_number();
        if (which < 0) continue;
        const int above = lanes_sum(better(x, Row(form, position), which, c, lane, lanes), lanes);
        if (lane == 0 && above < top_k) sum += 1;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) ((double*)parts)[blockIdx.x] = sum;
}

// A block goes through all labels for one class at a time: its threads rank the positions of that class
// that they meet.
// x: (outer,c,inner)  label: (outer,inner)  y: (c)
extern "C" __global__ void __launch_bounds__(256)
accuracy_per_class_forward(const float* x, const float* label, float* y, long long positions, int c,
                           int inner, int last, int top_k, int ignoring, int ignore_label) {
    __shared__ double shared[8];
    const Form form{c, inner, last != 0};
    for (int own = blockIdx.x; own < c; own += gridDim.x) {
        double seen = 0, right = 0;
        for (int64 position = threadIdx.x; position < positions; position += 256) {
            const int which = class_of(label[position], c, ignoring, ignore_label);
            if (which == INVALID) right += not_a_number();
            if (which != own) continue;
            seen += 1;
            if (better(x, Row(form, position), which, c, 0, 1) < top_k) right += 1;
        }
        seen = block_sum(seen, shared);
        right = block_sum(right, shared);
        if (threadIdx.x == 0) y[own] = (float)(right / (seen > 1 ? seen : 1.0));
    }
}

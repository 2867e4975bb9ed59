// Images of a database to input of a net: mean, scale, mirror, and the net's layout.

#include "common.cuh"

// A thread owns an element of y and finds the pixel that goes there; the mean has the crop's place in the
// whole image, or one number for a channel (mean_h = mean_w = 1). A crop beyond the mean image becomes NaN:
// the loss tells.
template <class Pixel>
__device__ void transform(const Pixel* x, const int* place, const float* mean, float* y, int c, int h, int w,
                          int mean_h, int mean_w, int last, float scale, int64 size) {
    const Form form{c, h * w, last != 0};
    const bool whole = mean_h > 1 || mean_w > 1;
#pragma unroll 1
    for (int64 i = first_element(); i < size; i += element_step()) {
        const int64 position = form.position(i), image = position / form.inner;
        const int channel = form.channel(i), cell = (int)(position % form.inner);
        const int row = cell / w, column = cell % w;
        const int* at = place + image * 3;
        const int from = at[2] ? w - 1 - column : column;
        float under = 0;
        if (mean) {
            const int u = whole ? at[0] + row : 0, v = whole ? at[1] + from : 0;
            const bool inside = u >= 0 && u < mean_h && v >= 0 && v < mean_w;
            under = inside ? mean[((int64)channel * mean_h + u) * mean_w + v] : not_a_number();
        }
        y[i] = ((float)x[((image * c + channel) * h + row) * w + from] - under) * scale;
    }
}

// x: (n,c,h,w), NCHW  place: (n,3)  mean: (c,mean_h,mean_w)  y: (n,c,h,w), either layout
extern "C" __global__ void __launch_bounds__(256)
transform_forward_uint8(const unsigned char* x, const int* place, OPTIONAL const float* mean, float* y,
                        int c, int h, int w, int mean_h, int mean_w, int last, float scale,
                        long long size) {
    transform(x, place, mean, y, c, h, w, mean_h, mean_w, last, scale, size);
}

// The same of float32 pixels.
// x: (n,c,h,w), NCHW  place: (n,3)  mean: (c,mean_h,mean_w)  y: (n,c,h,w), either layout
extern "C" __global__ void __launch_bounds__(256)
transform_forward_float32(const float* x, const int* place, OPTIONAL const float* mean, float* y, int c,
                          int h, int w, int mean_h, int mean_w, int last, float scale, long long size) {
    transform(x, place, mean, y, c, h, w, mean_h, mean_w, last, scale, size);
}

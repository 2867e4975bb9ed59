// Kernels for processors with AVX2 and FMA; the rest of the CPU backend runs everywhere.
//
// Compiled with -mavx2 -mfma into a module of its own, which is imported where the processor has both.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "direct.h"
#include "fc.h"
#include "narrow.h"
#include "pool.h"
#include "winograd.h"

namespace py = pybind11;

using Floats = py::array_t<float, py::array::c_style>;
using Ints = py::array_t<int32_t, py::array::c_style>;
using Bytes = py::array_t<uint8_t, py::array::c_style>;

namespace {

const float* values(const py::object& array) { return array.is_none() ? nullptr : py::cast<Floats>(array).data(); }

void forward(const winograd::Problem& g, const Floats& xs, const Floats& ws, const py::object& bias, Floats& ys,
             bool turned, bool relu, float slope, Floats& workspaces) {
  const float *x = xs.data(), *w = ws.data(), *b = values(bias);
  float *y = ys.mutable_data(), *workspace = workspaces.mutable_data();
  const Size size = workspaces.size();
  py::gil_scoped_release release;
  winograd::forward(g, x, w, b, {y, nullptr, relu, slope}, turned, workspace, size);
}

void pool_forward(const winograd::Problem& g, const Floats& xs, const Floats& ws, const py::object& bias, Floats& ys,
                  Bytes& code, Floats& workspaces) {
  const float *x = xs.data(), *w = ws.data(), *b = values(bias);
  float *y = ys.mutable_data(), *workspace = workspaces.mutable_data();
  unsigned char* codes = code.mutable_data();
  const Size size = workspaces.size();
  py::gil_scoped_release release;
  winograd::forward(g, x, w, b, {y, codes, true, 0.f}, false, workspace, size);
}

void backward_weights(const winograd::Problem& g, const Floats& xs, const Floats& dys, Floats& dws,
                      Floats& workspaces) {
  const float *x = xs.data(), *dy = dys.data();
  float *dw = dws.mutable_data(), *workspace = workspaces.mutable_data();
  const Size size = workspaces.size();
  py::gil_scoped_release release;
  winograd::backward_weights(g, x, dy, dw, workspace, size);
}

void narrow_forward(const narrow::Problem& g, const Floats& xs, const Floats& ws, const py::object& bias, Floats& ys,
                    bool relu, float slope, Floats& workspaces) {
  const float *x = xs.data(), *w = ws.data(), *b = values(bias);
  float *y = ys.mutable_data(), *workspace = workspaces.mutable_data();
  const Size size = workspaces.size();
  py::gil_scoped_release release;
  narrow::forward(g, x, w, b, y, relu, slope, workspace, size);
}

void narrow_pool_forward(const narrow::Problem& g, const Floats& xs, const Floats& ws, const py::object& bias,
                         Floats& ys, Bytes& code, Floats& workspaces) {
  const float *x = xs.data(), *w = ws.data(), *b = values(bias);
  float *y = ys.mutable_data(), *workspace = workspaces.mutable_data();
  unsigned char* codes = code.mutable_data();
  const Size size = workspaces.size();
  py::gil_scoped_release release;
  narrow::pool_forward(g, x, w, b, y, codes, workspace, size);
}

void narrow_backward_weights(const narrow::Problem& g, const Floats& xs, const Floats& dys, Floats& dws,
                             Floats& workspaces) {
  const float *x = xs.data(), *dy = dys.data();
  float *dw = dws.mutable_data(), *workspace = workspaces.mutable_data();
  py::gil_scoped_release release;
  narrow::backward_weights(g, x, dy, dw, workspace);
}

void direct_forward(const direct::Problem& g, const Floats& xs, const Floats& ws, const py::object& bias, Floats& ys,
                    bool relu, float slope, Floats& workspaces) {
  const float *x = xs.data(), *w = ws.data(), *b = values(bias);
  float *y = ys.mutable_data(), *workspace = workspaces.mutable_data();
  const Size size = workspaces.size();
  py::gil_scoped_release release;
  direct::forward(g, x, w, b, y, relu, slope, workspace, size);
}

void direct_backward_data(const direct::Problem& g, const Floats& ws, const Floats& dys, Floats& dxs,
                          Floats& workspaces) {
  const float *w = ws.data(), *dy = dys.data();
  float *dx = dxs.mutable_data(), *workspace = workspaces.mutable_data();
  const Size size = workspaces.size();
  py::gil_scoped_release release;
  direct::backward_data(g, w, dy, dx, workspace, size);
}

void direct_backward_weights(const direct::Problem& g, const Floats& xs, const Floats& dys, Floats& dws,
                             Floats& workspaces) {
  const float *x = xs.data(), *dy = dys.data();
  float *dw = dws.mutable_data(), *workspace = workspaces.mutable_data();
  const Size size = workspaces.size();
  py::gil_scoped_release release;
  direct::backward_weights(g, x, dy, dw, workspace, size);
}

void fc_forward(Size n, Size c, Size k, const Floats& xs, const Floats& ws, const py::object& bias, Floats& ys) {
  const float *x = xs.data(), *w = ws.data(), *b = values(bias);
  float* y = ys.mutable_data();
  py::gil_scoped_release release;
  fc::forward({n, c, k}, x, w, b, y);
}

void fc_backward_data(Size n, Size c, Size k, const Floats& ws, const Floats& dys, Floats& dxs) {
  const float *w = ws.data(), *dy = dys.data();
  float* dx = dxs.mutable_data();
  py::gil_scoped_release release;
  fc::backward_data({n, c, k}, w, dy, dx);
}

void fc_backward_weights(Size n, Size c, Size k, const Floats& xs, const Floats& dys, Floats& dws) {
  const float *x = xs.data(), *dy = dys.data();
  float* dw = dws.mutable_data();
  py::gil_scoped_release release;
  fc::backward_weights({n, c, k}, x, dy, dw);
}

void pool2_forward(const Floats& xs, Floats& ys, Ints& argmaxes, Size planes, Size h, Size w) {
  const float* x = xs.data();
  float* y = ys.mutable_data();
  int32_t* argmax = argmaxes.mutable_data();
  py::gil_scoped_release release;
  pool::forward(x, y, argmax, planes, h, w);
}

void pool2_backward(const Floats& dys, const Ints& argmaxes, Floats& dxs, Size planes, Size h, Size w) {
  const float* dy = dys.data();
  const int32_t* argmax = argmaxes.data();
  float* dx = dxs.mutable_data();
  py::gil_scoped_release release;
  pool::backward(dy, argmax, dx, planes, h, w);
}

void relu_pool_bias_backward(const Floats& ys, const Bytes& code, const Floats& dys, Floats& dxs, const py::object& dbs,
                             Size n, Size k, Size p, Size q) {
  const float *y = ys.data(), *dy = dys.data();
  const unsigned char* codes = code.data();
  float *dx = dxs.mutable_data(), *db = dbs.is_none() ? nullptr : py::cast<Floats>(dbs).mutable_data();
  py::gil_scoped_release release;
  pool::relu_bias_backward(y, codes, dy, dx, db, n, k, p, q);
}

}  // namespace

PYBIND11_MODULE(_avx2, m) {
  m.doc() = "Kernels for AVX2 and FMA; see avx2.cpp.";
  py::class_<winograd::Problem>(m, "Winograd")
      .def(py::init([](Size n, Size c, Size h, Size w, Size k, Size p, Size q, Size pad_h, Size pad_w) {
        return winograd::Problem{n, c, h, w, k, p, q, pad_h, pad_w};
      }))
      .def("workspace", &winograd::workspace);
  m.def("set_threads", [](int count) { omp_set_num_threads(count); });
  m.def("winograd_forward", &forward);
  m.def("winograd_backward_weights", &backward_weights);
  py::class_<narrow::Problem>(m, "Narrow")
      .def(py::init([](Size n, Size c, Size h, Size w, Size k, Size p, Size q, Size pad_h, Size pad_w) {
        return narrow::Problem{n, c, h, w, k, p, q, pad_h, pad_w};
      }))
      .def("workspace", &narrow::Problem::workspace);
  py::class_<direct::Problem>(m, "Direct")
      .def(py::init([](Size n, Size c, Size h, Size w, Size k, Size p, Size q, Size r, Size s, Size stride_h,
                       Size stride_w, Size pad_h, Size pad_w, Size dilation_h, Size dilation_w, Size group) {
        return direct::Problem{n, c, h, w, k, p, q, r, s, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group};
      }))
      .def("workspace", &direct::Problem::workspace);
  m.def("direct_forward", &direct_forward);
  m.def("direct_backward_data", &direct_backward_data);
  m.def("direct_backward_weights", &direct_backward_weights);
  m.def("narrow_pool_forward", &narrow_pool_forward);
  m.def("winograd_pool_forward", &pool_forward);
  m.def("pool2_forward", &pool2_forward);
  m.def("pool2_backward", &pool2_backward);
  m.def("relu_pool_bias_backward", &relu_pool_bias_backward);
  m.def("narrow_forward", &narrow_forward);
  m.def("narrow_backward_weights", &narrow_backward_weights);
  m.def("fc_forward", &fc_forward);
  m.def("fc_backward_data", &fc_backward_data);
  m.def("fc_backward_weights", &fc_backward_weights);
}

// CUDA's language on the CPU: what a kernel file finds instead of NVRTC's built-in names.
//
// The driver includes it before an unchanged kernel file and compiles that with g++ -std=c++20. Every
// thread of a block is a fiber of the runtime (scheduler.cpp); functions that meet other threads end
// there, and tell the caller's file and line. No header of the C++ library: a kernel file compiles in
// half a second.
#pragma once

// ---- language
// Hidden, so that no function of the C library takes a kernel's place.
#define __global__ __attribute__((noinline, visibility("hidden")))
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static const
// A file's library has no other variables, so its .bss is what the runtime poisons and watches.
#define __shared__ static

#define EMULATOR_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

// ---- vectors: aligned as CUDA aligns them
#define EMULATOR_VECTORS(T, N)                                                                      \
    struct alignas(2 * sizeof(T)) N##2 { T x, y; };                                                 \
    struct N##3 { T x, y, z; };                                                                     \
    struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) N##4 { T x, y, z, w; };                      \
    inline N##2 make_##N##2(T x, T y) { return {x, y}; }                                            \
    inline N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }                                    \
    inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(double, double)
EMULATOR_VECTORS(signed char, char)
EMULATOR_VECTORS(unsigned char, uchar)
EMULATOR_VECTORS(short, short)
EMULATOR_VECTORS(unsigned short, ushort)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(unsigned, uint)
EMULATOR_VECTORS(long long, longlong)
EMULATOR_VECTORS(unsigned long long, ulonglong)
#undef EMULATOR_VECTORS
struct dim3 { unsigned x, y, z; };

// ---- the runtime
extern "C" {
#ifdef EMULATOR_KERNELS
#define EMULATOR_CONST const  // set before a thread goes on: to the thread that reads them they never change
#else
#define EMULATOR_CONST
#endif
extern EMULATOR_CONST uint3 threadIdx, blockIdx;
extern EMULATOR_CONST dim3 blockDim, gridDim;
extern unsigned char* EMULATOR_CONST emulator_dynamic;

struct EmulatorMma {
    unsigned a[4], b[2];
    float c[4];
};
enum EmulatorFunction { SYNCWARP, SHUFFLE, BALLOT, LDMATRIX, LDMATRIX_TRANSPOSED, MMA_BF16, MMA_F16, MMA_TF32 };
void emulator_barrier(const char* file, int line);
// Waits for all lanes of `mask`; the last to come makes every lane's `out` of all their `in`. `argument`: a
// shuffle's source lane.
void emulator_meet(EmulatorFunction function, unsigned mask, const void* in, void* out, int bytes, int argument,
                   const char* file, int line);
void emulator_copy_async(void* to, const void* from, bool valid);
void emulator_copy_commit();
void emulator_copy_wait(int open);
void emulator_trap(const char* file, int line);
}

constexpr int warpSize = 32;
#define __syncthreads() emulator_barrier(__FILE__, __LINE__)
#define __trap() emulator_trap(__FILE__, __LINE__)
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- warps
inline void __syncwarp(unsigned mask = ~0u, EMULATOR_HERE) {
    emulator_meet(SYNCWARP, mask, nullptr, nullptr, 0, 0, file, line);
}

template <class T>
inline T emulator_shuffle(unsigned mask, T value, int source, const char* file, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    T result;
    emulator_meet(SHUFFLE, mask, &value, &result, sizeof(T), source, file, line);
    return result;
}

inline int emulator_lane() { return threadIdx.x % 32; }

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMULATOR_HERE) {
    int first = emulator_lane() & ~(width - 1);
    return emulator_shuffle(mask, value, first | (source & (width - 1)), file, line);
}

template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMULATOR_HERE) {
    int lane = emulator_lane(), source = lane ^ bits;
    return emulator_shuffle(mask, value, source <= (lane | (width - 1)) ? source : lane, file, line);
}

template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, EMULATOR_HERE) {
    int lane = emulator_lane(), source = lane + (int)distance;
    return emulator_shuffle(mask, value, source <= (lane | (width - 1)) ? source : lane, file, line);
}

template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, EMULATOR_HERE) {
    int lane = emulator_lane(), source = lane - (int)distance;
    return emulator_shuffle(mask, value, source >= (lane & ~(width - 1)) ? source : lane, file, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_HERE) {
    unsigned result;
    emulator_meet(BALLOT, mask, nullptr, &result, 4, predicate != 0, file, line);
    return result;
}
inline int __any_sync(unsigned mask, int predicate, EMULATOR_HERE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATOR_HERE) {
    return __ballot_sync(mask, !predicate, file, line) == 0;
}

// ---- atomics: of whole numbers only, since sums of floats would depend on the order
int atomicAdd(int* at, int value);
unsigned atomicAdd(unsigned* at, unsigned value);
unsigned long long atomicAdd(unsigned long long* at, unsigned long long value);
float atomicAdd(float*, float) = delete;
double atomicAdd(double*, double) = delete;
int atomicMin(int* at, int value);
unsigned atomicMin(unsigned* at, unsigned value);
long long atomicMin(long long* at, long long value);
unsigned long long atomicMin(unsigned long long* at, unsigned long long value);
int atomicMax(int* at, int value);
unsigned atomicMax(unsigned* at, unsigned value);
long long atomicMax(long long* at, long long value);
unsigned long long atomicMax(unsigned long long* at, unsigned long long value);
int atomicOr(int* at, int value);
unsigned atomicOr(unsigned* at, unsigned value);
int atomicAnd(int* at, int value);
unsigned atomicAnd(unsigned* at, unsigned value);
int atomicExch(int* at, int value);
unsigned atomicExch(unsigned* at, unsigned value);
int atomicCAS(int* at, int expected, int value);
unsigned atomicCAS(unsigned* at, unsigned expected, unsigned value);
unsigned long long atomicCAS(unsigned long long* at, unsigned long long expected, unsigned long long value);

#ifdef EMULATOR_KERNELS  // the runtime has the C++ library's own
// ---- numbers
extern "C" {
float expf(float) noexcept, exp2f(float) noexcept, expm1f(float) noexcept, logf(float) noexcept;
float log2f(float) noexcept, log10f(float) noexcept, log1pf(float) noexcept, powf(float, float) noexcept;
float sqrtf(float) noexcept, cbrtf(float) noexcept, fmaf(float, float, float) noexcept, fabsf(float) noexcept;
float floorf(float) noexcept, ceilf(float) noexcept, roundf(float) noexcept, rintf(float) noexcept;
float truncf(float) noexcept, fmodf(float, float) noexcept, copysignf(float, float) noexcept, erff(float) noexcept;
float sinf(float) noexcept, cosf(float) noexcept, tanf(float) noexcept, tanhf(float) noexcept;
float sinhf(float) noexcept, coshf(float) noexcept, atan2f(float, float) noexcept, hypotf(float, float) noexcept;
double exp(double) noexcept, log(double) noexcept, pow(double, double) noexcept, sqrt(double) noexcept;
double fma(double, double, double) noexcept, fabs(double) noexcept, floor(double) noexcept, ceil(double) noexcept;
double sin(double) noexcept, cos(double) noexcept, tanh(double) noexcept, rint(double) noexcept;
int abs(int) noexcept;
void *memcpy(void*, const void*, unsigned long) noexcept, *memset(void*, int, unsigned long) noexcept;
}

template <class T>
inline T __ldg(const T* at) { return *at; }

template <class T> inline bool isnan(T x) { return __builtin_isnan(x); }
template <class T> inline bool isinf(T x) { return __builtin_isinf(x); }
template <class T> inline bool isfinite(T x) { return __builtin_isfinite(x); }
template <class T> inline bool signbit(T x) { return __builtin_signbit(x); }

// As IEEE 754's maxNum: a NaN loses, +0 is above -0.
inline float fmaxf(float a, float b) { return a > b || b != b || (a == b && __builtin_signbit(b)) ? a : b; }
inline float fminf(float a, float b) { return a < b || b != b || (a == b && __builtin_signbit(a)) ? a : b; }
inline double fmax(double a, double b) { return a > b || b != b || (a == b && __builtin_signbit(b)) ? a : b; }
inline double fmin(double a, double b) { return a < b || b != b || (a == b && __builtin_signbit(a)) ? a : b; }
inline float max(float a, float b) { return fmaxf(a, b); }
inline float min(float a, float b) { return fminf(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
// Two signs mixed are compared without a sign, as CUDA does.
#define EMULATOR_ORDER(R, A, B)                                                     \
    constexpr R max(A a, B b) { return (R)a > (R)b ? (R)a : (R)b; }                 \
    constexpr R min(A a, B b) { return (R)a < (R)b ? (R)a : (R)b; }
#define EMULATOR_ORDERS(T)                                                          \
    EMULATOR_ORDER(T, T, T)                                                         \
    EMULATOR_ORDER(unsigned T, unsigned T, unsigned T)                              \
    EMULATOR_ORDER(unsigned T, T, unsigned T)                                       \
    EMULATOR_ORDER(unsigned T, unsigned T, T)
EMULATOR_ORDERS(int)
EMULATOR_ORDERS(long)
EMULATOR_ORDERS(long long)
#undef EMULATOR_ORDERS
#undef EMULATOR_ORDER

inline float exp(float x) { return expf(x); }
inline float log(float x) { return logf(x); }
inline float pow(float x, float y) { return powf(x, y); }
inline float sqrt(float x) { return sqrtf(x); }
inline float fabs(float x) { return fabsf(x); }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return fabs(x); }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline float floor(float x) { return floorf(x); }
inline float ceil(float x) { return ceilf(x); }
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline float rsqrtf(float x) { return (float)(1 / sqrt((double)x)); }
inline double rsqrt(double x) { return 1 / sqrt(x); }

inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1 / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __double2float_rn(double a) { return (float)a; }
inline float __int2float_rn(int a) { return (float)a; }
inline float __uint2float_rn(unsigned a) { return (float)a; }
inline int __float2int_rn(float a) { return (int)rintf(a); }
inline int __float2int_rz(float a) { return (int)a; }
inline int __float2int_rd(float a) { return (int)floorf(a); }
inline float __uint_as_float(unsigned a) { return __builtin_bit_cast(float, a); }
inline float __int_as_float(int a) { return __builtin_bit_cast(float, a); }
inline unsigned __float_as_uint(float a) { return __builtin_bit_cast(unsigned, a); }
inline int __float_as_int(float a) { return __builtin_bit_cast(int, a); }
inline double __longlong_as_double(long long a) { return __builtin_bit_cast(double, a); }
inline long long __double_as_longlong(double a) { return __builtin_bit_cast(long long, a); }

inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
inline int __clz(int a) { return a ? __builtin_clz((unsigned)a) : 32; }
inline int __ffs(int a) { return __builtin_ffs(a); }

// ---- what the driver asks a compiled file for: where its shared arrays and its own image lie
extern "C" {
extern char __attribute__((visibility("hidden"))) __ehdr_start[], __bss_start[], _end[];
void emulator_image(char** into) {
    into[0] = __ehdr_start;
    into[1] = __bss_start;
    into[2] = _end;
}
}
#endif

// The instructions behind ptx.cuh: asynchronous copies, and the matrix instructions of a warp.
//
// Layouts are those of the PTX manual, 9.7.14.5; in a lane's 32-bit register the lower half comes first
// along k. g = lane / 4, t = lane % 4.
#include "runtime.h"

#include <string.h>

#include <bit>
#include <cmath>
#include <vector>

namespace {

struct Copy {
    void* to;
    const void* from;
    bool valid;
    uintptr_t place;
};

// What one thread has under way. A group is all copies since the group before it.
struct Queue {
    std::vector<Copy> copies;
    std::vector<size_t> groups;  // copies of each, oldest first
    size_t ungrouped = 0;
};
Queue queues[MAX_THREADS];

bool in_shared(const void* at, size_t bytes) {
    auto lies = [=](const void* start, const void* end) {
        return (uintptr_t)at >= (uintptr_t)start && (uintptr_t)at + bytes <= (uintptr_t)end;
    };
    return lies(call->shared, call->image_end) || lies(emulator_dynamic, emulator_dynamic + call->dynamic);
}

void do_copy(const Copy& copy) {
    if (copy.valid) memcpy(copy.to, copy.from, 16);
    else memset(copy.to, 0, 16);
}

}  // namespace

void forget_copies() {
    for (Queue& queue : queues) queue = Queue();
}

void end_copies() {
    if (!queues[self->thread].copies.empty()) fail("ends with asynchronous copies that it never waited for");
}

void check_row(const void* row, uintptr_t place) {
    if ((uintptr_t)row % 16) fail("ldmatrix%s of a row at an address that 16 does not divide", place_name(place));
    if (!in_shared(row, 16)) fail("ldmatrix%s of a row outside shared memory", place_name(place));
    if (call->race) access(row, 16, READ, true, place);
}

extern "C" {

// Eager, the copy is made here, late in the wait that covers it: a kernel must be right both ways. The
// place in shared memory counts as written at both times.
void emulator_copy_async(void* to, const void* from, bool valid) {
    const uintptr_t place = (uintptr_t)__builtin_return_address(0);
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16)
        fail("cp.async%s at an address that 16 does not divide", place_name(place));
    if (!in_shared(to, 16)) fail("cp.async%s to a place outside shared memory", place_name(place));
    if (call->race) {
        if (valid) access(from, 16, READ, true, place);
        access(to, 16, WRITE, true, place);
    }
    Queue& queue = queues[self->thread];
    queue.copies.push_back({to, from, valid, place});
    queue.ungrouped++;
    if (!call->late) do_copy(queue.copies.back());
}

void emulator_copy_commit() {
    Queue& queue = queues[self->thread];
    queue.groups.push_back(queue.ungrouped);
    queue.ungrouped = 0;
}

void emulator_copy_wait(int open) {
    Queue& queue = queues[self->thread];
    size_t finished = 0, groups = 0;
    while (queue.groups.size() - groups > (size_t)open) finished += queue.groups[groups++];
    for (size_t i = 0; i < finished; i++) {
        const Copy& copy = queue.copies[i];
        if (call->race) access(copy.to, 16, WRITE, true, copy.place);
        if (call->late) do_copy(copy);
    }
    queue.copies.erase(queue.copies.begin(), queue.copies.begin() + finished);
    queue.groups.erase(queue.groups.begin(), queue.groups.begin() + groups);
}

}  // extern "C"

namespace {

// Matrix j's row r is where lane 8j + r points to. Plain, register j holds M_j[g][2t], M_j[g][2t + 1];
// transposed M_j[2t][g], M_j[2t + 1][g].
void load_matrices(Fiber* lanes, bool transposed) {
    uint16_t matrix[4][8][8];
    for (int l = 0; l < LANES; l++) memcpy(matrix[l / 8][l % 8], lanes[l].in, 16);
    for (int l = 0; l < LANES; l++) {
        const int g = l / 4, t = l % 4;
        auto* registers = (uint32_t*)lanes[l].out;
        for (int j = 0; j < 4; j++) {
            uint16_t low = transposed ? matrix[j][2 * t][g] : matrix[j][g][2 * t];
            uint16_t high = transposed ? matrix[j][2 * t + 1][g] : matrix[j][g][2 * t + 1];
            registers[j] = low | (uint32_t)high << 16;
        }
    }
}

// The value of an fp16: 1 bit of sign, 5 of exponent, 10 of fraction.
float half(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float sign = bits >> 15 ? -1.f : 1.f;
    if (exponent == 31) return fraction ? std::bit_cast<float>(0x7fffffffu) : sign * INFINITY;
    return sign * std::ldexp(exponent ? 1024.f + fraction : (float)fraction, (exponent ? exponent : 1) - 25);
}

float half_of(uint32_t both, int which, bool bf16) {
    uint16_t bits = (uint16_t)(which ? both >> 16 : both);
    return bf16 ? std::bit_cast<float>((uint32_t)bits << 16) : half(bits);
}

// The lower 13 bits are not looked at; a NaN stays one even if it has no others.
float tf32_of(uint32_t bits) {
    float value = std::bit_cast<float>(bits);
    return value != value ? value : std::bit_cast<float>(bits & 0xffffe000u);
}

// C (16, 8) += A (16, K) B (K, 8)
template <int K>
void multiply(Fiber* lanes, EmulatorFunction function) {
    float a[16][K], b[K][8], c[16][8];
    for (int l = 0; l < LANES; l++) {
        const auto& in = *(const EmulatorMma*)lanes[l].in;
        const int g = l / 4, t = l % 4;
        if constexpr (K == 8) {
            for (int i = 0; i < 4; i++) a[g + 8 * (i % 2)][t + 4 * (i / 2)] = tf32_of(in.a[i]);
            for (int i = 0; i < 2; i++) b[t + 4 * i][g] = tf32_of(in.b[i]);
        } else {
            const bool bf16 = function == MMA_BF16;
            for (int i = 0; i < 8; i++)
                a[g + 8 * (i / 2 % 2)][2 * t + i % 2 + 8 * (i / 4)] = half_of(in.a[i / 2], i % 2, bf16);
            for (int i = 0; i < 4; i++) b[2 * t + i % 2 + 8 * (i / 2)][g] = half_of(in.b[i / 2], i % 2, bf16);
        }
        for (int i = 0; i < 4; i++) c[g + 8 * (i / 2)][2 * t + i % 2] = in.c[i];
    }
    for (int m = 0; m < 16; m++)
        for (int k = 0; k < K; k++)
            for (int n = 0; n < 8; n++) c[m][n] += a[m][k] * b[k][n];
    for (int l = 0; l < LANES; l++) {
        auto* out = (float*)lanes[l].out;
        for (int i = 0; i < 4; i++) out[i] = c[l / 4 + 8 * (i / 2)][2 * (l % 4) + i % 2];
    }
}

}  // namespace

void compute_tensor(EmulatorFunction function, Fiber* lanes) {
    if (function == MMA_TF32) multiply<8>(lanes, function);
    else if (function == MMA_BF16 || function == MMA_F16) multiply<16>(lanes, function);
    else load_matrices(lanes, function == LDMATRIX_TRANSPOSED);
}

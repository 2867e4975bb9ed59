// What the scheduler, the race detector and the tensor instructions share. Kernels do not see it.
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "emulator.h"

constexpr int MAX_THREADS = 1024, LANES = 32, STACK_BYTES = 1 << 17;

// ---- what the driver hands over (driver.py has the same fields)
struct Array {
    uint64_t at, bytes;
    int item, written;  // bytes of an element; not const in the declaration
    const char* name;
};

struct Call {
    void (*body)(void**);
    void** arguments;
    unsigned grid[3], threads;
    uint64_t seed;
    int order;  // Order, below
    int late;   // asynchronous copies happen when they are waited for, not at once
    int race;
    int arrays;
    const Array* array;
    char *image, *shared, *image_end;  // the file's code and constants, then its shared arrays
    uint64_t dynamic;           // bytes of dynamic shared memory
    char* report;               // for one line of text
    uint64_t report_bytes;
};

enum Order { IN_ORDER, REVERSED, SHUFFLED, RUN_ON };

// ---- fibers
enum State { READY, AT_BARRIER, IN_WARP, ENDED };

struct Fiber {
    void* saved;  // stack pointer
    char* stack;  // none before it starts and after it ends
    int thread;
    State state;
    const char* file;  // where it waits
    int line;
    EmulatorFunction function;
    unsigned mask;
    const void* in;
    void* out;
    int argument;
};

extern Call* call;
extern Fiber* self;
extern Fiber fibers[MAX_THREADS];

// Ends the launch; the text, after the names of kernel, block and thread, is its report.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
// " at @0x12ab" for an address in the kernels' code, which the driver replaces by file and line; else "".
const char* place_name(uintptr_t place);

// ---- tensor.cpp: cp.async and the warp's matrix instructions
void forget_copies();  // of all threads, at the start of a launch
void end_copies();     // the running thread ends
void check_row(const void* row, uintptr_t place);  // that the running thread gives to ldmatrix
// What a warp's matrix instruction leaves in every lane's `out`; lane 0's fiber is `lanes`.
void compute_tensor(EmulatorFunction function, Fiber* lanes);

// ---- race detector
enum Access { READ, WRITE, ATOMIC };
void race_start_launch();
void race_start_block(unsigned block);
void race_barrier();
void race_syncwarp(int warp, unsigned mask);
void access(const void* at, size_t bytes, Access kind, bool aligned, uintptr_t place);

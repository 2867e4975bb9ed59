// Runs one launch: block after block, each thread of a block a fiber that goes on until it must wait.
//
// Which of the fibers that may go on does so, and which block comes next, is drawn from the seed: a
// kernel that leans on an order that nobody promised gives another answer under another seed.
#include "runtime.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <vector>

#ifndef __x86_64__
#error "the emulator switches stacks by x86-64 instructions; this processor needs its own"
#endif

extern "C" {
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
unsigned char* emulator_dynamic;

// Keeps the callee's registers on the stack, leaves its pointer in *save and goes on where `load` was left.
void emulator_switch(void** save, void* load);
}
asm(R"(
    .text
    .globl emulator_switch
    .hidden emulator_switch
    .type emulator_switch, @function
emulator_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

Call* call;
Fiber* self;
Fiber fibers[MAX_THREADS];

namespace {

void* main_saved;
std::vector<char*> all_stacks, free_stacks;
int threads, alive, at_barrier;    // of the block that runs
int first_at_barrier, some_ended;  // threads; some_ended: -1 while none has
uint64_t random_state;
bool failed;

struct Warp {
    unsigned waiting, ended;  // lanes
    bool mixed;               // those waiting do so at different meetings
} warps[MAX_THREADS / LANES];

// Threads that may go on, next first.
struct Ready {
    int thread[2 * MAX_THREADS];
    unsigned first = 0, count = 0;

    int take() {
        if (!count) return -1;
        count--;
        return thread[first++ % (2 * MAX_THREADS)];
    }
    void put_last(int t) { thread[(first + count++) % (2 * MAX_THREADS)] = t; }
    void put_first(int t) {
        count++;
        thread[--first % (2 * MAX_THREADS)] = t;
    }
} ready;

unsigned draw(unsigned below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 32) % below;
}

template <class T>
void reorder(T* items, unsigned count) {
    if (call->order == IN_ORDER) return;
    if (call->order == REVERSED) std::reverse(items, items + count);
    else for (unsigned i = count; i > 1; i--) std::swap(items[i - 1], items[draw(i)]);
}

void wake(int* woken, unsigned count) {
    reorder(woken, count);
    for (unsigned i = 0; i < count; i++) {
        fibers[woken[i]].state = READY;
        if (call->order == RUN_ON) ready.put_first(woken[i]);
        else ready.put_last(woken[i]);
    }
}

char* new_stack() {
    if (free_stacks.empty()) {
        // The lowest page stays closed, so that an overflow is a fault and not silence.
        void* at = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) abort();
        mprotect(at, 4096, PROT_NONE);
        all_stacks.push_back((char*)at);
        return (char*)at;
    }
    char* stack = free_stacks.back();
    free_stacks.pop_back();
    return stack;
}

void become(int thread) {
    self = &fibers[thread];
    threadIdx = {(unsigned)thread, 0, 0};
}

// The thread has run to its end.
void end_thread() {
    Warp& warp = warps[self->thread / LANES];
    unsigned lane = 1u << self->thread % LANES;
    end_copies();
    if (at_barrier) {
        const Fiber& first = fibers[first_at_barrier];
        fail("ends without reaching the __syncthreads() at %s:%d, where thread %d waits", first.file, first.line,
             first.thread);
    }
    for (unsigned left = warp.waiting; left; left &= left - 1) {
        const Fiber& other = fibers[self->thread / LANES * LANES + __builtin_ctz(left)];
        if (other.mask & lane)
            fail("ends without reaching the warp function at %s:%d, where thread %d waits for it", other.file,
                 other.line, other.thread);
    }
    self->state = ENDED;
    warp.ended |= lane;
    some_ended = self->thread;
    alive--;
}

// The life of a stack: it carries one thread, and when that ends the next that has not started.
[[noreturn]] void carry() {
    for (;;) {
        call->body(call->arguments);
        end_thread();
        char* stack = self->stack;
        self->stack = nullptr;
        int next = ready.take();
        if (next >= 0) become(next);
        if (next >= 0 && !self->stack) {
            self->stack = stack;
            continue;
        }
        free_stacks.push_back(stack);
        void* nowhere;
        if (next < 0) self = nullptr;
        emulator_switch(&nowhere, next < 0 ? main_saved : self->saved);
    }
}

// Goes on with the thread `next`, or with the main stack if there is none; what runs now is kept in *save.
void go_on(void** save, int next) {
    if (next < 0) {
        self = nullptr;
        emulator_switch(save, main_saved);
        return;
    }
    if (self == &fibers[next]) return;
    become(next);
    if (!self->stack) {
        self->stack = new_stack();
        // `ret` takes carry, which then finds its stack as a call would have left it.
        void** top = (void**)(self->stack + STACK_BYTES - 64);
        *--top = nullptr;
        *--top = (void*)carry;
        self->saved = top - 6;
    }
    emulator_switch(save, self->saved);
}

void wait_in(State state) {
    self->state = state;
    go_on(&self->saved, ready.take());
}

// ---- faults: a wild address ends the launch, not the process
struct sigaction before[3];
const int SIGNALS[3] = {SIGSEGV, SIGBUS, SIGFPE};
uintptr_t fault_address, fault_place;
int fault_signal;

[[noreturn]] void land() {
    const char* place = place_name(fault_place + 1);
    if (fault_signal == SIGFPE) fail("divides a whole number by zero%s", place);
    uintptr_t stack = (uintptr_t)self->stack;
    if (fault_address - stack < 4096) fail("needs more than %d bytes of stack%s", STACK_BYTES - 4096, place);
    if (!fault_address) fail("reads or writes a misaligned vector, or no address at all%s", place);
    fail("reads or writes at address 0x%zx, where no memory is%s", (size_t)fault_address, place);
}

void on_signal(int signal, siginfo_t* info, void* context) {
    auto* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
    if (!self) {  // a fault of our own: whoever was there before deals with it
        for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &before[i], nullptr);
        return;
    }
    fault_signal = signal;
    // A misaligned vector is a general protection fault, which comes without an address.
    fault_address = info->si_code == SI_KERNEL ? 0 : (uintptr_t)info->si_addr;
    fault_place = (uintptr_t)registers[REG_RIP];
    registers[REG_RIP] = (greg_t)land;
    registers[REG_RSP] = (greg_t)(self->stack + STACK_BYTES - 64 - 8);
}

void watch_signals(bool on) {
    static char* alternative = (char*)malloc(1 << 16);
    static stack_t previous;
    if (on) {
        stack_t own = {};
        own.ss_sp = alternative;
        own.ss_size = 1 << 16;
        sigaltstack(&own, &previous);
        struct sigaction action = {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &action, &before[i]);
    } else {
        for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &before[i], nullptr);
        sigaltstack(&previous, nullptr);
    }
}

void start_block(unsigned block) {
    blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / (gridDim.x * gridDim.y)};
    alive = threads;
    at_barrier = 0;
    some_ended = -1;
    ready = {};
    memset(warps, 0, sizeof warps);
    memset(call->shared, 0xFF, call->image_end - call->shared);  // NaN
    memset(emulator_dynamic, 0xFF, call->dynamic);
    if (call->race) race_start_block(block);
    int order[MAX_THREADS];
    for (int t = 0; t < threads; t++) order[t] = t;
    wake(order, threads);
}

void explain_deadlock() {
    for (int t = 0; t < threads; t++) {
        if (fibers[t].state == READY || fibers[t].state == ENDED) continue;
        self = &fibers[t];
        const char* what = self->state == AT_BARRIER ? "__syncthreads()" : "the warp function";
        for (int u = 0; u < threads; u++) {
            const Fiber& other = fibers[u];
            if (other.state == ENDED || other.state == self->state) continue;
            snprintf(call->report, call->report_bytes, "deadlock: thread %d waits at %s at %s:%d, thread %d at %s:%d",
                     t, what, self->file, self->line, u, other.file, other.line);
            return;
        }
        snprintf(call->report, call->report_bytes, "deadlock: thread %d waits for ever at %s at %s:%d", t, what,
                 self->file, self->line);
        return;
    }
}

void report_where(char* into, size_t bytes) {
    snprintf(into, bytes, "block (%u, %u, %u), thread %d: ", blockIdx.x, blockIdx.y, blockIdx.z,
             self ? self->thread : 0);
}

}  // namespace

const char* place_name(uintptr_t place) {
    static char names[4][32];
    static unsigned turn;
    if (place - (uintptr_t)call->image >= (size_t)(call->image_end - call->image)) return "";
    char* name = names[turn++ % 4];
    // A return address lies behind the call that is meant.
    snprintf(name, sizeof names[0], " at @0x%zx", (size_t)(place - 1 - (uintptr_t)call->image));
    return name;
}

void fail(const char* format, ...) {
    report_where(call->report, call->report_bytes);
    size_t used = strlen(call->report);
    va_list values;
    va_start(values, format);
    vsnprintf(call->report + used, call->report_bytes - used, format, values);
    va_end(values);
    failed = true;
    self = nullptr;
    void* nowhere;
    emulator_switch(&nowhere, main_saved);
    __builtin_unreachable();
}

extern "C" {

void emulator_barrier(const char* file, int line) {
    self->file = file;
    self->line = line;
    if (some_ended >= 0)
        fail("waits at the __syncthreads() at %s:%d, but thread %d ended without reaching it", file, line, some_ended);
    if (at_barrier) {
        const Fiber& first = fibers[first_at_barrier];  // the others were compared with it when they came
        if (first.line != line || strcmp(first.file, file))
            fail("is at the __syncthreads() at %s:%d, thread %d at that at %s:%d", file, line, first.thread, first.file,
                 first.line);
    } else {
        first_at_barrier = self->thread;
    }
    self->state = AT_BARRIER;
    if (++at_barrier == threads) {
        int all[MAX_THREADS];
        for (int t = 0; t < threads; t++) all[t] = t;
        at_barrier = 0;
        if (call->race) race_barrier();
        wake(all, threads);
    }
    go_on(&self->saved, ready.take());
}

void emulator_meet(EmulatorFunction function, unsigned mask, const void* in, void* out, int bytes, int argument,
                   const char* file, int line) {
    const int first = self->thread / LANES * LANES, lane = self->thread % LANES;
    Fiber* lanes = &fibers[first];
    Warp& warp = warps[first / LANES];
    int there = std::min(LANES, threads - first);
    unsigned meant = there == LANES ? mask : mask & ((1u << there) - 1);
    if (!(mask >> lane & 1)) fail("calls the warp function at %s:%d with a mask (%08x) that leaves it out", file, line, mask);
    if (meant & warp.ended)
        fail("calls the warp function at %s:%d for thread %d too, which has ended", file, line,
             first + __builtin_ctz(meant & warp.ended));
    if (function >= LDMATRIX && there < LANES) fail("%s:%d needs all 32 lanes of a warp", file, line);
    if (function == LDMATRIX || function == LDMATRIX_TRANSPOSED) check_row(in, (uintptr_t)__builtin_return_address(0));
    self->file = file;
    self->line = line;
    self->function = function;
    self->mask = mask;
    self->in = in;
    self->out = out;
    self->argument = argument;
    auto same = [&](const Fiber& other) {
        return other.mask == mask && other.line == line && other.function == function && !strcmp(other.file, file);
    };
    // Lanes may wait at several meetings at once, as long as no two wait for each other.
    unsigned arrived = warp.waiting & meant;
    warp.mixed = warp.waiting && (warp.mixed || !same(lanes[__builtin_ctz(warp.waiting)]));
    for (unsigned left = warp.mixed ? arrived : 0; left; left &= left - 1) {
        const Fiber& other = lanes[__builtin_ctz(left)];
        if (same(other)) continue;
        arrived &= ~(left & -left);
        if (other.mask >> lane & 1)
            fail("calls the warp function at %s:%d with mask %08x while thread %d waits at %s:%d with mask %08x", file,
                 line, mask, other.thread, other.file, other.line, other.mask);
    }
    warp.waiting |= 1u << lane;
    arrived |= 1u << lane;
    if (arrived != meant) return wait_in(IN_WARP);

    int woken[LANES];
    unsigned count = 0, votes = 0;
    for (unsigned left = meant; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        woken[count++] = first + l;
        votes |= (unsigned)(lanes[l].argument & 1) << l;
    }
    for (unsigned i = 0; i < count; i++) {
        Fiber& each = fibers[woken[i]];
        if (function == BALLOT) memcpy(each.out, &votes, 4);
        if (function != SHUFFLE) continue;
        if (!(meant >> each.argument & 1))
            fail("%s:%d: lane %d takes the value of lane %d, which does not take part", file, line,
                 each.thread - first, each.argument);
        memcpy(each.out, lanes[each.argument].in, bytes);
    }
    if (function >= LDMATRIX) compute_tensor(function, lanes);
    if (function == SYNCWARP && call->race) race_syncwarp(first / LANES, meant);
    warp.waiting &= ~meant;
    wake(woken, count);
    go_on(&self->saved, ready.take());
}

void emulator_trap(const char* file, int line) { fail("reached the __trap() at %s:%d", file, line); }

// Runs a launch; 1 if it failed, with the reason in the report.
int emulator_run(Call* what) {
    call = what;
    failed = false;
    threads = (int)call->threads;
    gridDim = {call->grid[0], call->grid[1], call->grid[2]};
    blockDim = {call->threads, 1, 1};
    random_state = call->seed * 0x9E3779B97F4A7C15ull ^ 0xD1B54A32D192ED03ull;
    if (!random_state) random_state = 1;
    emulator_dynamic = (unsigned char*)aligned_alloc(1024, (call->dynamic + 1024) / 1024 * 1024);
    forget_copies();
    if (call->race) race_start_launch();
    std::vector<unsigned> blocks(gridDim.x * gridDim.y * gridDim.z);
    for (unsigned b = 0; b < blocks.size(); b++) blocks[b] = b;
    reorder(blocks.data(), blocks.size());
    watch_signals(true);
    for (unsigned block : blocks) {
        free_stacks = all_stacks;
        for (int t = 0; t < threads; t++) {
            fibers[t].thread = t;
            fibers[t].stack = nullptr;
        }
        start_block(block);
        go_on(&main_saved, ready.take());
        if (!failed && alive) {
            explain_deadlock();
            failed = true;
        }
        if (failed) break;
    }
    watch_signals(false);
    self = nullptr;
    free(emulator_dynamic);
    return failed;
}

}  // extern "C"

// ---- atomics: the fibers take turns, so a plain operation is one
#define ATOMIC_OPERATION(NAME, T, EXPRESSION)                                                  \
    T NAME(T* at, T value) {                                                                   \
        if (call->race) access(at, sizeof(T), ATOMIC, true, (uintptr_t)__builtin_return_address(0)); \
        T old = *at;                                                                           \
        *at = EXPRESSION;                                                                      \
        return old;                                                                            \
    }
#define ATOMIC_COMPARE(T)                                                                      \
    T atomicCAS(T* at, T expected, T value) {                                                  \
        if (call->race) access(at, sizeof(T), ATOMIC, true, (uintptr_t)__builtin_return_address(0)); \
        T old = *at;                                                                           \
        if (old == expected) *at = value;                                                      \
        return old;                                                                            \
    }
typedef unsigned long long Wide;
ATOMIC_OPERATION(atomicAdd, int, (int)((unsigned)old + (unsigned)value))
ATOMIC_OPERATION(atomicAdd, unsigned, old + value)
ATOMIC_OPERATION(atomicAdd, Wide, old + value)
ATOMIC_OPERATION(atomicMin, int, value < old ? value : old)
ATOMIC_OPERATION(atomicMin, unsigned, value < old ? value : old)
ATOMIC_OPERATION(atomicMin, long long, value < old ? value : old)
ATOMIC_OPERATION(atomicMin, Wide, value < old ? value : old)
ATOMIC_OPERATION(atomicMax, int, value > old ? value : old)
ATOMIC_OPERATION(atomicMax, unsigned, value > old ? value : old)
ATOMIC_OPERATION(atomicMax, long long, value > old ? value : old)
ATOMIC_OPERATION(atomicMax, Wide, value > old ? value : old)
ATOMIC_OPERATION(atomicOr, int, old | value)
ATOMIC_OPERATION(atomicOr, unsigned, old | value)
ATOMIC_OPERATION(atomicAnd, int, old & value)
ATOMIC_OPERATION(atomicAnd, unsigned, old & value)
ATOMIC_OPERATION(atomicExch, int, value)
ATOMIC_OPERATION(atomicExch, unsigned, value)
ATOMIC_COMPARE(int)
ATOMIC_COMPARE(unsigned)
ATOMIC_COMPARE(Wide)

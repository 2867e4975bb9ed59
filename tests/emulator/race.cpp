// Watches every load and store of a kernel that was compiled with -fsanitize=thread: g++ puts a call of
// __tsan_* before each, and these functions are ours (the sanitizer's own library is not linked).
//
// An access is wrong outside the arrays of its launch, into a const one, at an address that its size does
// not divide, or where another thread's access is not ordered with it: by __syncthreads() between threads
// of a block, by __syncwarp() between lanes of a warp, by nothing between blocks. Shuffles and votes
// exchange their values only and order no memory.
#include "runtime.h"

#include <algorithm>
#include <vector>

namespace {

// Time is counted in periods: one ends at each __syncthreads() and with each block. Within a period, lanes
// of a warp are ordered by clocks: a lane's own clock ticks at each of its __syncwarp()s.
struct Mark {
    uint32_t period, clock, place;  // place: in the image, 0 if not known
    uint16_t thread;
};

// What was done to one element of a global array, or to one byte of shared memory.
struct Cell {
    Mark write, read;
    Mark atomic;          // an atomic of another thread than that of `write`, when that is atomic too
    uint32_t lanes;       // of the warp of read.thread, that read in that period
    uint32_t block_read;  // a period of an earlier block that read
    bool write_is_atomic, other_warps_read;
};

// Arrays that overlap are one region.
struct Region {
    uintptr_t at, end;
    size_t item, first_cell;
};

uint32_t period, launch_start, block_start;  // never set back, so old cells count as empty
uint32_t clocks[MAX_THREADS][LANES];         // what each thread knows of its warp's lanes
std::vector<uint32_t> block_starts;          // of this launch
std::vector<unsigned> block_numbers;
std::vector<Region> regions;
std::vector<Cell> global_cells, static_cells, dynamic_cells;
std::vector<int> region_of;  // array
int last_array;

unsigned block_of(uint32_t when) {
    size_t i = std::upper_bound(block_starts.begin(), block_starts.end(), when) - block_starts.begin();
    return block_numbers[i - 1];
}

uintptr_t full_place(uint32_t place) { return (uintptr_t)call->image + place; }

bool ordered(unsigned thread, uint32_t clock) {
    unsigned me = self->thread;
    return thread / LANES == me / LANES && clocks[me][thread % LANES] >= clock;
}

struct Clash {
    const Mark* mark;
    bool wrote;
    uint32_t period;
};

// What an access in the current period clashes with. `from`: the first period that matters.
Clash clash(const Cell& cell, Access kind, uint32_t from) {
    const unsigned me = self->thread;
    auto meets = [&](const Mark& mark) {
        if (mark.period < from) return false;
        if (mark.period < block_start) return true;
        return mark.period == period && mark.thread != me && !ordered(mark.thread, mark.clock);
    };
    if (!(kind == ATOMIC && cell.write_is_atomic)) {
        if (meets(cell.write)) return {&cell.write, true, cell.write.period};
        if (cell.write_is_atomic && meets(cell.atomic)) return {&cell.atomic, true, cell.atomic.period};
    }
    if (kind == READ) return {};
    if (cell.block_read >= from && cell.block_read < block_start) return {&cell.read, false, cell.block_read};
    const Mark& read = cell.read;
    if (read.period < from) return {};
    if (read.period < block_start) return {&read, false, read.period};
    if (read.period != period) return {};
    if (cell.other_warps_read || read.thread / LANES != me / LANES) return {&read, false, period};
    for (uint32_t left = cell.lanes & ~(1u << me % LANES); left; left &= left - 1) {
        unsigned lane = __builtin_ctz(left);
        if (clocks[me][lane] < read.clock) return {&read, false, period};
    }
    return {};
}

void note_read(Cell& cell, const Mark& mine) {
    const unsigned me = self->thread;
    const uint32_t bit = 1u << me % LANES;
    Mark& read = cell.read;
    if (read.period != period) {
        if (read.period >= launch_start && read.period < block_start) cell.block_read = read.period;
        read = mine;
        cell.lanes = bit;
        cell.other_warps_read = false;
    } else if (read.thread / LANES != me / LANES) {
        cell.other_warps_read = true;
    } else if (read.clock == mine.clock) {
        cell.lanes |= bit;
    } else {
        bool after_all = true;
        for (uint32_t left = cell.lanes; left; left &= left - 1)
            after_all &= clocks[me][__builtin_ctz(left)] >= read.clock;
        uint32_t earliest = std::min(read.clock, mine.clock);
        cell.lanes = after_all ? bit : cell.lanes | bit;
        if (after_all) read = mine;
        else read.clock = earliest;  // errs on the side of silence
    }
}

void note_write(Cell& cell, const Mark& mine, Access kind) {
    bool second = kind == ATOMIC && cell.write_is_atomic && cell.write.period >= launch_start;
    if (!second) cell.atomic = {};
    else if (cell.write.thread != mine.thread || cell.write.period < block_start) cell.atomic = cell.write;
    cell.write = mine;
    cell.write_is_atomic = kind == ATOMIC;
}

const char* verb(Access kind) { return kind == READ ? "reads" : kind == WRITE ? "writes" : "changes"; }

[[noreturn]] void report(const Clash& with, Access kind, const char* array, size_t element, uintptr_t place) {
    const char* before = with.wrote ? "wrote" : "read";
    const char* here = place_name(place);
    const char* there = with.period == with.mark->period && with.mark->place ? place_name(full_place(with.mark->place)) : "";
    unsigned thread = with.mark->thread;
    if (with.period < block_start) {
        unsigned b = block_of(with.period);
        fail("race: %s element %zu of %s%s, which block (%u, %u, %u) %s%s; blocks never wait for each other", verb(kind),
             element, array, here, b % gridDim.x, b / gridDim.x % gridDim.y, b / (gridDim.x * gridDim.y), before, there);
    }
    if (array)
        fail("race: %s element %zu of %s%s, which thread %u %s%s with no barrier between", verb(kind), element, array,
             here, thread, before, there);
    fail("race: %s shared memory%s that thread %u %s%s with no barrier between", verb(kind), here, thread, before,
         there);
}

void visit(Cell* cells, size_t count, Access kind, uint32_t from, uintptr_t place, const char* array, size_t element) {
    uintptr_t offset = place - (uintptr_t)call->image;
    Mark mine = {period, clocks[self->thread][self->thread % LANES], (uint32_t)offset, (uint16_t)self->thread};
    if (place - (uintptr_t)call->image >= (size_t)(call->image_end - call->image)) mine.place = 0;
    for (size_t i = 0; i < count; i++) {
        Clash with = clash(cells[i], kind, from);
        if (with.mark) report(with, kind, array, element + i, place);
        if (kind == READ) note_read(cells[i], mine);
        else note_write(cells[i], mine, kind);
    }
}

bool covers(const Array& array, uintptr_t at, size_t bytes) {
    return at - array.at < array.bytes && at + bytes <= array.at + array.bytes;
}

// The array of this launch that an access lies in; where there are several, one that may be written.
const Array* array_of(uintptr_t at, size_t bytes, bool written) {
    const Array* found = nullptr;
    if (last_array < call->arrays) {
        const Array& last = call->array[last_array];
        if (covers(last, at, bytes) && (!written || last.written)) return &last;
    }
    for (int i = 0; i < call->arrays; i++) {
        const Array& array = call->array[i];
        if (!covers(array, at, bytes)) continue;
        found = &array;
        last_array = i;
        if (!written || array.written) break;
    }
    return found;
}

[[noreturn]] void report_outside(uintptr_t at, size_t bytes, Access kind, uintptr_t place) {
    const Array* nearest = nullptr;
    uint64_t least = 1 << 30;
    for (int i = 0; i < call->arrays; i++) {
        const Array& array = call->array[i];
        uint64_t away = at < array.at ? array.at - at : at + bytes - array.at - array.bytes;
        if (at >= array.at && at + bytes <= array.at + array.bytes) away = 0;
        if (away < least) {
            least = away;
            nearest = &array;
        }
    }
    const char* here = place_name(place);
    if (!nearest) fail("%s %zu bytes at address 0x%zx%s, outside every array", verb(kind), bytes, (size_t)at, here);
    fail("%s %zu bytes at byte %lld of %s%s, outside every array of the launch; %s has %llu bytes", verb(kind), bytes,
         (long long)(at - nearest->at), nearest->name, here, nearest->name, (unsigned long long)nearest->bytes);
}

bool within(uintptr_t at, const void* start, const void* end) {
    return at - (uintptr_t)start < (uintptr_t)end - (uintptr_t)start;
}

// Tables of constants lie below the shared arrays, on pages of their own.
bool constant(uintptr_t at) {
    return at >= (uintptr_t)call->image && at < ((uintptr_t)call->shared & ~(uintptr_t)4095);
}

}  // namespace

void race_start_launch() {
    launch_start = ++period;
    block_starts.clear();
    block_numbers.clear();
    regions.clear();
    region_of.assign(call->arrays, 0);
    last_array = 0;
    std::vector<int> order(call->arrays);
    for (int i = 0; i < call->arrays; i++) order[i] = i;
    std::sort(order.begin(), order.end(), [](int a, int b) { return call->array[a].at < call->array[b].at; });
    for (int i : order) {
        const Array& array = call->array[i];
        if (regions.empty() || array.at >= regions.back().end)
            regions.push_back({array.at, array.at + array.bytes, (size_t)array.item, 0});
        Region& region = regions.back();
        region.end = std::max(region.end, (uintptr_t)(array.at + array.bytes));
        region.item = std::min(region.item, (size_t)array.item);
        region_of[i] = (int)regions.size() - 1;
    }
    size_t cells = 0;
    for (Region& region : regions) {
        region.first_cell = cells;
        cells += (region.end - region.at + region.item - 1) / region.item;
    }
    if (global_cells.size() < cells) global_cells.resize(cells);
    size_t shared = call->image_end - call->shared;
    if (static_cells.size() < shared) static_cells.resize(shared);
    if (dynamic_cells.size() < call->dynamic) dynamic_cells.resize(call->dynamic);
}

void race_start_block(unsigned block) {
    block_start = ++period;
    block_starts.push_back(period);
    block_numbers.push_back(block);
    for (unsigned t = 0; t < call->threads; t++) {
        std::fill_n(clocks[t], LANES, 0);
        clocks[t][t % LANES] = 1;
    }
}

void race_barrier() { period++; }

void race_syncwarp(int warp, unsigned mask) {
    uint32_t known[LANES] = {};
    auto* mine = &clocks[warp * LANES];
    for (unsigned left = mask; left; left &= left - 1) {
        for (int l = 0; l < LANES; l++) known[l] = std::max(known[l], mine[__builtin_ctz(left)][l]);
    }
    for (unsigned left = mask; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        std::copy_n(known, LANES, mine[lane]);
        mine[lane][lane]++;
    }
}

void access(const void* pointer, size_t bytes, Access kind, bool aligned, uintptr_t place) {
    if (!self || !bytes) return;
    const uintptr_t at = (uintptr_t)pointer;
    if (at - (uintptr_t)self->stack < STACK_BYTES) return;
    if (aligned && at % bytes)
        fail("%s %zu bytes%s at an address that %zu does not divide", verb(kind), bytes, place_name(place), bytes);
    const bool fixed = within(at, call->shared, call->image_end);
    if (fixed || within(at, emulator_dynamic, emulator_dynamic + call->dynamic)) {
        const uintptr_t start = fixed ? (uintptr_t)call->shared : (uintptr_t)emulator_dynamic;
        const size_t size = fixed ? call->image_end - call->shared : call->dynamic;
        if (at - start + bytes > size)
            fail("%s %zu bytes%s over the end of shared memory", verb(kind), bytes, place_name(place));
        visit(&(fixed ? static_cells : dynamic_cells)[at - start], bytes, kind, block_start, place, nullptr, 0);
        return;
    }
    const Array* array = array_of(at, bytes, kind != READ);
    if (!array) {
        if (kind == READ && constant(at)) return;
        report_outside(at, bytes, kind, place);
    }
    if (kind != READ && !array->written)
        fail("%s element %zu of %s%s, which is const", verb(kind), (size_t)(at - array->at) / array->item, array->name,
             place_name(place));
    const Region& region = regions[region_of[array - call->array]];
    const size_t first = (at - region.at) / region.item, last = (at + bytes - 1 - region.at) / region.item;
    visit(&global_cells[region.first_cell + first], last - first + 1, kind, launch_start, place, array->name,
          (at - array->at) / array->item);
}

// ---- what g++ calls
#define PLACE (uintptr_t)__builtin_return_address(0)
#define HOOKS(BYTES)                                                                             \
    void __tsan_read##BYTES(void* at) { access(at, BYTES, READ, true, PLACE); }                  \
    void __tsan_write##BYTES(void* at) { access(at, BYTES, WRITE, true, PLACE); }                \
    void __tsan_unaligned_read##BYTES(void* at) { access(at, BYTES, READ, false, PLACE); }       \
    void __tsan_unaligned_write##BYTES(void* at) { access(at, BYTES, WRITE, false, PLACE); }

// -fsanitize=bounds describes an index that lies outside an array of known size.
struct OutOfBounds {
    const char* file;
    uint32_t line, column;
    struct { uint16_t kind, info; char name[]; } * array;
};

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void* at, size_t bytes) { access(at, bytes, READ, false, PLACE); }
void __tsan_write_range(void* at, size_t bytes) { access(at, bytes, WRITE, false, PLACE); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}

void __ubsan_handle_out_of_bounds(OutOfBounds* what, size_t index) {
    if (self)
        fail("index %lld lies outside %s at %s:%u", (long long)index, what->array->name, what->file, what->line);
}
}

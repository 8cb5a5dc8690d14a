#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "memory.hpp"
#include "order.hpp"

namespace fake_cuda {
namespace {

constexpr std::size_t granularity = 512;
constexpr std::size_t quarantine_blocks = 256;

std::size_t capacity_for(std::size_t bytes) {
  return (bytes + granularity - 1) / granularity * granularity;
}

void fill(const block& b, int value) {
  std::memset(reinterpret_cast<void*>(b.bytes.begin), value, b.bytes.end - b.bytes.begin);
}

std::string text_of(byte_range r) {
  char text[64];
  std::snprintf(text, sizeof text, "bytes [%p, %p)", reinterpret_cast<void*>(r.begin),
                reinterpret_cast<void*>(r.end));
  return text;
}

std::string side(const world& w, const char* by, std::uint64_t operation, timeline line) {
  return std::string(by) + " (operation " + std::to_string(operation) + ") on " + name_of(w, line);
}

struct side_of_race {
  const access& what;
  timeline line;
};

void report_race(frame& f, const char* kind, side_of_race now, side_of_race earlier,
                 byte_range where) {
  const auto name = [&f](const side_of_race& s) {
    return side(f.w, s.what.by, s.what.operation, s.line);
  };
  report(f.w, kind + name(now) + (now.what.writes ? " writes " : " reads ") + text_of(where) +
                  ", which " + name(earlier) + (earlier.what.writes ? " wrote" : " read") +
                  ", with no order between the two");
}

byte_range common(byte_range a, byte_range b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

// A freed block may go when the driver would map something else there.
void release_storage(world& w, block& b) {
  w.shadow.forget(b.bytes);
  std::free(b.storage);
  w.blocks.erase(b.bytes.begin);
}

void put_in_quarantine(world& w, block& b) {
  w.quarantine.push_back(&b);
  if (w.quarantine.size() <= quarantine_blocks) return;
  block* oldest = w.quarantine.front();
  w.quarantine.pop_front();
  release_storage(w, *oldest);
}

// Whether the access may go on: what touches a freed block is a finding and no more.
bool may_touch(frame& f, const block& b, byte_range range, bool writes, moment m,
               const vector_clock& known) {
  const bool beyond = b.storage != nullptr && range.end > b.bytes.end;
  if (b.freed_by == nullptr && !beyond) return true;
  const std::string what = side(f.w, f.function, f.operation, m.line) +
                           (writes ? " writes " : " reads ") + text_of(range);
  if (b.freed_by == nullptr) {
    report(f.w, "out of bounds: " + what + " of a block of " + text_of(b.bytes));
    return false;
  }
  const char* order = known.covers(b.freed_at) ? ", freed before by " : ", with no order to ";
  report(f.w,
         "use after free: " + what + order + b.freed_by + " on " + name_of(f.w, b.freed_at.line));
  return false;
}

}  // namespace

block* block_at(world& w, address where) {
  auto after = w.blocks.upper_bound(where);
  if (after == w.blocks.begin()) return nullptr;
  block& found = *std::prev(after)->second;
  return where < std::max(found.bytes.end, found.bytes.begin + 1) ? &found : nullptr;
}

block& enroll(frame& f, context& home, block_kind kind, address begin, std::size_t bytes) {
  const auto after = f.w.blocks.lower_bound(begin);
  const bool overlaps = block_at(f.w, begin) != nullptr ||
                        (after != f.w.blocks.end() && after->first < begin + bytes);
  if (overlaps) throw call_failed{CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED};
  auto made = std::make_unique<block>();
  made->kind = kind;
  made->bytes = {begin, begin + bytes};
  made->device = home.device;
  made->home = &home;
  made->id = ++f.w.last_id;
  return *f.w.blocks.emplace(begin, std::move(made)).first->second;
}

void strike_off(world& w, block& b) {
  w.shadow.forget(b.bytes);
  w.blocks.erase(b.bytes.begin);
}

block& allocate(frame& f, context& home, block_kind kind, std::size_t bytes) {
  need(bytes > 0);
  // More than any device has; malloc would promise it.
  if (bytes > std::size_t{1} << 40) throw call_failed{CUDA_ERROR_OUT_OF_MEMORY};
  void* storage = std::aligned_alloc(granularity, capacity_for(bytes));
  if (storage == nullptr) throw call_failed{CUDA_ERROR_OUT_OF_MEMORY};
  block& b = enroll(f, home, kind, reinterpret_cast<address>(storage), bytes);
  b.storage = storage;
  b.capacity = capacity_for(bytes);
  fill(b, 0xCD);
  return b;
}

block& need_block_to_free(frame& f, address begin) {
  block* b = block_at(f.w, begin);
  const bool right = b != nullptr && b->bytes.begin == begin && b->freed_by == nullptr;
  if (right) return *b;
  char text[96];
  std::snprintf(text, sizeof text, "%s of %p, which is not an allocation%s", f.function,
                reinterpret_cast<void*>(begin), b != nullptr && b->freed_by ? " any more" : "");
  report(f.w, text);
  throw call_failed{CUDA_ERROR_INVALID_VALUE};
}

void free_on_host(frame& f, block& b) {
  const moment now = happen_on_host(f.w);
  touch(f, b.bytes, true, now, f.w.host);
  b.freed_by = f.function;
  b.freed_at = now;
  fill(b, 0xDD);
  put_in_quarantine(f.w, b);
}

block& allocate_on(frame& f, stream& s, memory_pool& pool, std::size_t bytes) {
  need(bytes > 0);
  if (pool.broken) throw call_failed{CUDA_ERROR_INVALID_DEVICE};
  const vector_clock& past = past_of(f.w, s);
  auto& free = f.w.free_blocks;
  const auto reusable = std::find_if(free.rbegin(), free.rend(), [&](const block* b) {
    return b->pool == &pool && b->capacity == capacity_for(bytes) && past.covers(b->freed_at);
  });
  block* b = nullptr;
  if (reusable != free.rend()) {
    b = *reusable;
    free.erase(std::next(reusable).base());
    b->bytes.end = b->bytes.begin + bytes;
    b->id = ++f.w.last_id;
    b->freed_by = nullptr;
  } else {
    b = &allocate(f, *f.w.devices[static_cast<std::size_t>(pool.device)], block_kind::pooled,
                  bytes);
    b->pool = &pool;
    pool.held += b->capacity;
  }
  const moment now = happen(f.w, s);
  touch(f, b->bytes, true, now, s.known);
  fill(*b, 0xCD);
  return *b;
}

void free_on(frame& f, stream& s, block& b) {
  const moment now = happen(f.w, s);
  touch(f, b.bytes, true, now, s.known);
  fill(b, 0xDD);
  b.freed_by = f.function;
  b.freed_at = now;
  if (b.pool != nullptr) f.w.free_blocks.push_back(&b);
}

void shrink(world& w, memory_pool& pool, std::uint64_t keep) {
  std::erase_if(w.free_blocks, [&](block* b) {
    const bool goes =
        b->pool == &pool && pool.held >= keep + b->capacity && w.host.covers(b->freed_at);
    if (!goes) return false;
    pool.held -= b->capacity;
    b->pool = nullptr;
    put_in_quarantine(w, *b);
    return true;
  });
}

void shrink_to_thresholds(world& w) {
  const auto excess = [&w](memory_pool& pool) {
    if (pool.held > pool.threshold) shrink(w, pool, pool.threshold);
  };
  for (const auto& c : w.devices) excess(c->default_pool);
  w.pools.each(excess);
}

bool reaches(const context& from, const block& b) {
  const bool everywhere = b.kind == block_kind::managed || b.kind == block_kind::host ||
                          b.kind == block_kind::registered;
  if (everywhere || b.device == from.device) return true;
  // Peer access between contexts does not extend to pools.
  if (b.kind != block_kind::pooled) return std::ranges::count(from.peers, b.home) != 0;
  return b.pool != nullptr && std::ranges::count(b.pool->peers, from.device) != 0;
}

void fault(frame& f, const context& c, const char* what) {
  report(f.w, std::string(f.function) + ": " + what);
  f.w.sticky[static_cast<std::size_t>(c.device)] = CUDA_ERROR_ILLEGAL_ADDRESS;
  throw call_failed{CUDA_ERROR_ILLEGAL_ADDRESS};
}

void touch(frame& f, byte_range range, bool writes, moment m, const vector_clock& known) {
  if (range.empty()) return;
  const block* b = block_at(f.w, range.begin);
  if (b != nullptr && !may_touch(f, *b, range, writes, m, known)) return;
  const access now{m, f.function, f.operation, writes};
  f.w.shadow.touch(range, now, known, [&](const access& earlier, byte_range where) {
    report_race(f, "race: ", {now, m.line}, {earlier, earlier.at.line}, common(where, range));
  });
}

void touch_in_graph(frame& f, stream& s, byte_range range, bool writes) {
  capture& c = *s.capturing;
  const access now{{s.capture_line, c.issued[s.capture_line]}, f.function, f.operation, writes};
  c.shadow.touch(range, now, s.captured, [&](const access& earlier, byte_range where) {
    const timeline line = c.members[earlier.at.line]->line;
    report_race(f, "race in a graph: ", {now, s.line}, {earlier, line}, common(where, range));
  });
}

void forget_memory(world& w) {
  for (const auto& [begin, b] : w.blocks) std::free(b->storage);
  w.blocks.clear();
  w.quarantine.clear();
  w.free_blocks.clear();
  w.shadow.clear();
}

}  // namespace fake_cuda

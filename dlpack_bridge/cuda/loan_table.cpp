#include <dlpack_bridge/cuda/loan_table.hpp>

#include <algorithm>
#include <utility>

#include <dlpack_bridge/cuda/context.hpp>
#include <dlpack_bridge/cuda/immortal.hpp>

namespace dlpack_bridge::cuda {

stream_of_thread stream_of_thread::here(const driver_api& api, stream_handle stream, int device) {
  stream_of_thread named = as_home(stream, device);
  if (is_default_stream(stream)) {
    const CUcontext context = context_here(api, device);
    if (context != active_context(api, device)) named.context = context;
  }
  return named;
}

loan_record* loan_table::enter(owner& memory, loan& terms) {
  const bool has_user = terms.user.known() && !terms.user.no_sync();
  stream_of_thread user;
  if (has_user) user = stream_of_thread::here(need_driver(), terms.user, terms.where.id);
  const auto begin = reinterpret_cast<std::uintptr_t>(terms.begin);
  const auto bytes = static_cast<std::uintptr_t>(std::max<std::int64_t>(terms.nbytes, 1));
  const std::lock_guard lock(mutex_);
  if (free_ == nullptr) free_ = new loan_record;
  loan_record& record = *free_;
  // Everything that may throw comes first.
  if (living_.size() == living_.capacity()) living_.reserve(2 * living_.size() + 64);
  if (has_user) record.readers.emplace_back();

  free_ = std::exchange(record.next, nullptr);
  record.position = living_.size();
  living_.push_back({begin, begin + bytes, &record});
  if (has_user) {
    record.readers.back().stream = user;
    record.readers.back().stream_object = std::move(terms.user_object);
  }
  record.home = stream_of_thread::as_home(terms.home, terms.where.id);
  record.where = terms.where;
  record.listener = terms.listener;
  record.memory = std::move(memory);
  return &record;
}

void loan_table::leave(loan_record& record) noexcept {
  const std::lock_guard lock(mutex_);
  entry& place = living_[record.position];
  place = living_.back();
  place.record->position = record.position;
  living_.pop_back();
}

void loan_table::recycle(loan_record& record) noexcept {
  const std::lock_guard lock(mutex_);
  record.next = std::exchange(free_, &record);
}

bool loan_table::add_reader(const void* address, const stream_of_thread& stream,
                            const std::shared_ptr<owner>& stream_object) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  bool found = false;
  const std::lock_guard lock(mutex_);
  for (const entry& e : living_) {
    if (wanted < e.begin || wanted >= e.end) continue;
    found = true;
    std::vector<reader>& readers = e.record->readers;
    auto known = std::ranges::find(readers, stream, &reader::stream);
    if (known == readers.end()) {
      readers.emplace_back().stream = stream;
      known = readers.end() - 1;
    }
    if (stream_object && !known->stream_object) {
      known->stream_object = owner::of(std::shared_ptr(stream_object));
    }
  }
  return found;
}

loan_table& loans() noexcept {
  static immortal<loan_table> table;
  return table.get();
}

}  // namespace dlpack_bridge::cuda

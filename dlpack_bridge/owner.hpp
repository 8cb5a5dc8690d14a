#pragma once

#include <atomic>
#include <memory>
#include <type_traits>
#include <utility>

#include <dlpack/dlpack.h>

namespace dlpack_bridge {

/// How a value of a type is kept that must not be called, or not be destroyed on every thread: specialise
/// it with `static owner keep(const T&)`, as the adapter of pybind11 does for Python objects.
template <class T>
struct keeper {};

/// Keeps the memory of an array alive: one object and the function that lets it go. Move-only;
/// the function runs exactly once, on whichever thread drops the owner, and must not throw.
class owner {
 public:
  using release_function = void (*)(void*) noexcept;

  constexpr owner() noexcept = default;
  constexpr owner(void* object, release_function release) noexcept
      : object_(object), release_(release) {}
  owner(owner&& other) noexcept
      : object_(other.object_), release_(std::exchange(other.release_, nullptr)) {}
  owner& operator=(owner&& other) noexcept {
    // Taken first: the old object may be what keeps `other`.
    owner taken(std::move(other));
    std::swap(object_, taken.object_);
    std::swap(release_, taken.release_);
    return *this;
  }
  ~owner() {
    if (release_ != nullptr) release_(object_);
  }

  /// Owns any value by moving it to the heap: a container, a shared_ptr, ... A callable is called
  /// when the owner dies, then destroyed; also when there is no memory to keep it.
  template <class T>
  static owner of(T&& value) {
    using value_type = std::remove_cvref_t<T>;
    if constexpr (requires { keeper<value_type>::keep(value); }) {
      return keeper<value_type>::keep(value);
    } else {
      return on_heap<value_type>(std::forward<T>(value));
    }
  }

  /// Owns a managed tensor: its deleter runs, if it has one (NULL is legal).
  static owner of_managed(DLManagedTensorVersioned* managed) noexcept {
    return owner(managed, [](void* object) noexcept {
      auto* tensor = static_cast<DLManagedTensorVersioned*>(object);
      if (tensor->deleter != nullptr) tensor->deleter(tensor);
    });
  }
  static owner of_managed(DLManagedTensor* managed) noexcept {
    return owner(managed, [](void* object) noexcept {
      auto* tensor = static_cast<DLManagedTensor*>(object);
      if (tensor->deleter != nullptr) tensor->deleter(tensor);
    });
  }

  void* get() const noexcept { return object_; }
  release_function release_by() const noexcept { return release_; }
  explicit operator bool() const noexcept { return release_ != nullptr; }

  /// Gives the object to a caller who lets it go.
  void* give_up() noexcept {
    release_ = nullptr;
    return object_;
  }
  /// Lets the object go now.
  void reset() noexcept {
    if (const release_function release = std::exchange(release_, nullptr)) release(object_);
  }

 private:
  template <class Value, class T>
  static owner on_heap(T&& value) {
    std::unique_ptr<Value> kept;
    try {
      kept = std::make_unique<Value>(std::forward<T>(value));
    } catch (...) {
      if constexpr (std::is_invocable_v<T&>) value();
      else if constexpr (!std::is_reference_v<T>) const Value dying(std::forward<T>(value));
      throw;
    }
    return owner(kept.release(), [](void* object) noexcept {
      const std::unique_ptr<Value> dying(static_cast<Value*>(object));
      if constexpr (std::is_invocable_v<Value&>) (*dying)();
    });
  }

  void* object_ = nullptr;
  release_function release_ = nullptr;
};

/// An owner that copies share: released when the last copy is dropped, on whichever thread does it.
class shared_owner {
 public:
  constexpr shared_owner() noexcept = default;
  /// One allocation; `keep` is released when there is no memory for it.
  explicit shared_owner(owner keep) : kept_(new shared{{1}, std::move(keep)}) {}
  shared_owner(const shared_owner& other) noexcept : kept_(other.kept_) {
    if (kept_ != nullptr) kept_->copies.fetch_add(1, std::memory_order_relaxed);
  }
  shared_owner(shared_owner&& other) noexcept : kept_(std::exchange(other.kept_, nullptr)) {}
  shared_owner& operator=(shared_owner other) noexcept {
    std::swap(kept_, other.kept_);
    return *this;
  }
  ~shared_owner() {
    if (kept_ != nullptr) drop(kept_);
  }

  /// Makes an owner share what it keeps, and gives the second owner of it. The first call for an owner
  /// allocates; after a throw `keep` is as before. Not for two threads at once.
  static owner second_of(owner& keep) {
    if (!keep) return {};
    if (!has_second(keep)) {
      auto* const made = new shared{{1}, {}};
      made->keep = std::move(keep);
      keep = owner(made, drop);
    }
    auto* const kept = static_cast<shared*>(keep.get());
    // The only copy is `keep`, which nobody copies or drops meanwhile.
    if (kept->copies.load(std::memory_order_acquire) == 1) {
      kept->copies.store(2, std::memory_order_relaxed);
    } else {
      kept->copies.fetch_add(1, std::memory_order_relaxed);
    }
    return owner(kept, drop);
  }

  /// Whether an owner shares what it keeps already.
  static bool has_second(const owner& keep) noexcept { return keep.release_by() == drop; }

  /// A second copy of the only one: costs less than any other. Precondition: `is_last()`, and nobody
  /// copies this one meanwhile.
  shared_owner second() const noexcept {
    kept_->copies.store(2, std::memory_order_relaxed);
    shared_owner copy;
    copy.kept_ = kept_;
    return copy;
  }

  void swap(shared_owner& other) noexcept { std::swap(kept_, other.kept_); }

  explicit operator bool() const noexcept { return kept_ != nullptr; }
  /// True when this is the only copy: nobody else can make one.
  bool is_last() const noexcept {
    return kept_ != nullptr && kept_->copies.load(std::memory_order_acquire) == 1;
  }
  /// Gives what is kept to all copies that were made of an empty owner. Precondition: not yet called,
  /// made from an empty owner.
  void fill(owner keep) noexcept { kept_->keep = std::move(keep); }

 private:
  struct shared {
    std::atomic<int> copies;
    owner keep;
  };

  [[gnu::hot]] static void drop(void* object) noexcept {
    auto* const kept = static_cast<shared*>(object);
    // The only copy left: nobody else can make another.
    const bool last = kept->copies.load(std::memory_order_acquire) == 1 ||
                      kept->copies.fetch_sub(1, std::memory_order_acq_rel) == 1;
    if (last) delete kept;
  }

  shared* kept_ = nullptr;
};

}  // namespace dlpack_bridge

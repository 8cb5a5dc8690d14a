#include "api.hpp"
#include "captures.hpp"
#include "memory.hpp"
#include "order.hpp"

// Allocation, registration and questions about addresses.
using namespace fake_cuda;

namespace {

// Allocations may synchronise the device: none while a capture forbids what is unsafe.
block& allocate_in_current(frame& f, block_kind kind, std::size_t bytes) {
  context& current = need_context(f);
  forbid_unsafe(f);
  return allocate(f, current, kind, bytes);
}

bool is_host(const block& b) {
  return b.kind == block_kind::host || b.kind == block_kind::registered;
}

// What a device would wait for, and a capture would not survive.
void free_and_wait(frame& f, block& b) {
  forbid_while_capturing(f, b.device);
  forbid_unsafe(f);
  const vector_clock running = work_of(*b.home);
  free_on_host(f, b);
  host_waits_for(f, running);
}

template <class Value>
void give(void* data, Value value) {
  *static_cast<Value*>(data) = value;
}

// False for memory that the driver does not know: the value is then what no memory has.
bool tell(const block* b, CUpointer_attribute attribute, address where, void* data) {
  const bool known = b != nullptr;
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: {
      const bool has_one = known && b->kind != block_kind::pooled;
      give<void*>(data, has_one ? b->home : nullptr);
      return known;
    }
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: {
      if (!known) give<unsigned>(data, 0);
      else give<unsigned>(data, is_host(*b) ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
      return known;
    }
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      give<CUdeviceptr>(data, known ? where : 0);
      return known;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER: {
      const bool readable = known && (is_host(*b) || b->kind == block_kind::managed);
      give<void*>(data, readable ? reinterpret_cast<void*>(where) : nullptr);
      return readable;
    }
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      give<unsigned long long>(data, known ? b->id : 0);
      return known;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      give<unsigned>(data, known && b->kind == block_kind::managed);
      return known;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: give<int>(data, known ? b->device : -2); return known;
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      give<unsigned>(data, known && b->kind == block_kind::device);
      return known;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      give<CUdeviceptr>(data, known ? b->bytes.begin : 0);
      return known;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      give<std::size_t>(data, known ? b->bytes.end - b->bytes.begin : 0);
      return known;
    case CU_POINTER_ATTRIBUTE_MAPPED: give<unsigned>(data, known); return known;
    default: throw call_failed{CUDA_ERROR_INVALID_VALUE};
  }
}

const block* alive_block_at(world& w, address where) {
  const block* b = block_at(w, where);
  return b != nullptr && b->freed_by == nullptr ? b : nullptr;
}

}  // namespace

FAKE_CUDA_API cuMemAlloc(CUdeviceptr* out, std::size_t bytes) {
  return call<"cuMemAlloc">(reach::current(), [&](frame& f) {
    need(out != nullptr);
    *out = allocate_in_current(f, block_kind::device, bytes).bytes.begin;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemAllocManaged(CUdeviceptr* out, std::size_t bytes, unsigned flags) {
  return call<"cuMemAllocManaged">(reach::current(), [&](frame& f) {
    need(out != nullptr && (flags == CU_MEM_ATTACH_GLOBAL || flags == CU_MEM_ATTACH_HOST));
    *out = allocate_in_current(f, block_kind::managed, bytes).bytes.begin;
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemHostAlloc(void** out, std::size_t bytes, unsigned flags) {
  return call<"cuMemHostAlloc">(reach::current(), [&](frame& f) {
    need(out != nullptr && flags <= 7);
    const block& b = allocate_in_current(f, block_kind::host, bytes);
    *out = reinterpret_cast<void*>(b.bytes.begin);
    return CUDA_SUCCESS;
  });
}

// The driver may wait for the device here and for memory of cuMemAllocAsync does not, so what still
// runs on the block is a race. That it may wait is what a capture does not survive.
FAKE_CUDA_API cuMemFree(CUdeviceptr where) {
  return call<"cuMemFree">(reach::current(), [&](frame& f) {
    need_context(f);
    if (where == 0) return CUDA_SUCCESS;
    block& b = need_block_to_free(f, where);
    need(!is_host(b) && b.kind != block_kind::adopted);
    if (b.kind == block_kind::pooled) free_on_host(f, b);
    else free_and_wait(f, b);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemFreeHost(void* where) {
  return call<"cuMemFreeHost">(reach::current(), [&](frame& f) {
    need_context(f);
    block& b = need_block_to_free(f, reinterpret_cast<address>(where));
    need(b.kind == block_kind::host);
    free_and_wait(f, b);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemHostRegister(void* begin, std::size_t bytes, unsigned) {
  return call<"cuMemHostRegister">(reach::current(), [&](frame& f) {
    need(begin != nullptr && bytes > 0);
    context& current = need_context(f);
    forbid_unsafe(f);
    enroll(f, current, block_kind::registered, reinterpret_cast<address>(begin), bytes);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuMemHostUnregister(void* begin) {
  return call<"cuMemHostUnregister">(reach::current(), [&](frame& f) {
    need_context(f);
    block* b = block_at(f.w, reinterpret_cast<address>(begin));
    if (b == nullptr || b->kind != block_kind::registered) {
      return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    }
    forbid_unsafe(f);
    touch(f, b->bytes, true, happen_on_host(f.w), f.w.host);
    strike_off(f.w, *b);
    return CUDA_SUCCESS;
  });
}

FAKE_CUDA_API cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr where) {
  return call<"cuPointerGetAttribute">(reach::driver(), [&](frame& f) {
    need(data != nullptr && where != 0);
    need(tell(alive_block_at(f.w, where), attribute, where, data));
    return CUDA_SUCCESS;
  });
}

// Unlike the call for one attribute, this one succeeds for memory that CUDA does not know.
FAKE_CUDA_API cuPointerGetAttributes(unsigned count, CUpointer_attribute* attributes, void** data,
                                     CUdeviceptr where) {
  return call<"cuPointerGetAttributes">(reach::driver(), [&](frame& f) {
    need(count > 0 && attributes != nullptr && data != nullptr);
    for (unsigned i = 0; i < count; ++i) {
      tell(alive_block_at(f.w, where), attributes[i], where, data[i]);
    }
    return CUDA_SUCCESS;
  });
}

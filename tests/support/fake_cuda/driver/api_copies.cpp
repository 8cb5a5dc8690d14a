#include <algorithm>
#include <cstring>
#include <vector>

#include "api.hpp"
#include "work.hpp"

// Copies and fills. They are done when they are put on the stream; what is ordered before them is
// another matter.
using namespace fake_cuda;

namespace {

/// A box of bytes: slices of rows of `width`.
struct box {
  std::size_t width, rows = 1, slices = 1;
  bool empty() const { return width == 0 || rows == 0 || slices == 0; }
};

/// One side of a copy.
struct place {
  address begin = 0;
  std::size_t pitch = 0;  ///< from row to row
  std::size_t slice = 0;  ///< from slice to slice
  bool on_host = false;

  address row(std::size_t r, std::size_t s) const { return begin + r * pitch + s * slice; }
};

place place_at(world& w, address begin, std::size_t pitch, std::size_t slice) {
  const block* b = block_at(w, begin);
  const bool on_host =
      b == nullptr || b->kind == block_kind::host || b->kind == block_kind::registered;
  return {begin, pitch, slice, on_host};
}

// The ranges that one side touches; as one when they are very many.
void list_ranges(const place& p, const box& b, bool writes, std::vector<touched>& out) {
  constexpr std::size_t most = 1 << 16;
  const bool dense = p.pitch == b.width && (b.slices == 1 || p.slice == b.width * b.rows);
  if (dense || b.rows * b.slices > most) {
    out.push_back({{p.begin, p.row(b.rows - 1, b.slices - 1) + b.width}, writes});
    return;
  }
  for (std::size_t s = 0; s < b.slices; ++s) {
    for (std::size_t r = 0; r < b.rows; ++r) {
      out.push_back({{p.row(r, s), p.row(r, s) + b.width}, writes});
    }
  }
}

void copy_bytes(const place& to, const place& from, const box& b) {
  for (std::size_t s = 0; s < b.slices; ++s) {
    for (std::size_t r = 0; r < b.rows; ++r) {
      std::memmove(reinterpret_cast<void*>(to.row(r, s)),
                   reinterpret_cast<const void*>(from.row(r, s)), b.width);
    }
  }
}

// What "API synchronization behavior" promises: from host to host the call returns when the copy is
// done. With pageable memory on one side it may do so, and where devices reach such memory by
// themselves nothing is staged: the device may be at it after the return.
CUresult put_copy(frame& f, stream& s, const place& to, const place& from, const box& b) {
  if (b.empty()) return CUDA_SUCCESS;
  if (s.capturing == nullptr) forbid_unsafe(f);
  std::vector<touched> ranges;
  list_ranges(from, b, false, ranges);
  list_ranges(to, b, true, ranges);
  if (!put_work(f, s, ranges)) return CUDA_SUCCESS;
  copy_bytes(to, from, b);
  if (to.on_host && from.on_host) host_waits_for(f, s.known);
  return CUDA_SUCCESS;
}

address address_of(CUmemorytype type, const void* host, CUdeviceptr device) {
  need(type == CU_MEMORYTYPE_HOST || type == CU_MEMORYTYPE_DEVICE || type == CU_MEMORYTYPE_UNIFIED);
  return type == CU_MEMORYTYPE_HOST ? reinterpret_cast<address>(host) : address{device};
}

constexpr std::size_t most_pitch = 2147483647;

// CUDA_MEMCPY3D and CUDA_MEMCPY3D_PEER name their fields alike.
template <class Parameters>
CUresult put_box(frame& f, stream& s, const Parameters& p) {
  need(p.srcLOD == 0 && p.dstLOD == 0);
  const box b{p.WidthInBytes, p.Height, p.Depth};
  if (b.empty()) return CUDA_SUCCESS;
  const auto side = [&](address base, std::size_t pitch, std::size_t height, std::size_t x,
                        std::size_t y, std::size_t z) {
    // A pitch of one row, and a height of one slice, are not looked at.
    if (b.rows == 1 && b.slices == 1 && pitch == 0) pitch = b.width + x;
    if (b.slices == 1 && height == 0) height = b.rows + y;
    need(pitch >= b.width + x && pitch <= most_pitch && height >= b.rows + y);
    return place_at(f.w, base + x + y * pitch + z * pitch * height, pitch, pitch * height);
  };
  const place from = side(address_of(p.srcMemoryType, p.srcHost, p.srcDevice), p.srcPitch,
                          p.srcHeight, p.srcXInBytes, p.srcY, p.srcZ);
  const place to = side(address_of(p.dstMemoryType, p.dstHost, p.dstDevice), p.dstPitch,
                        p.dstHeight, p.dstXInBytes, p.dstY, p.dstZ);
  return put_copy(f, s, to, from, b);
}

}  // namespace

FAKE_CUDA_API cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream handle) {
  return call<"cuMemcpyAsync">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    need(bytes == 0 || (to != 0 && from != 0));
    return put_copy(f, s, place_at(f.w, to, bytes, 0), place_at(f.w, from, bytes, 0), {bytes});
  });
}

FAKE_CUDA_API cuMemcpy2DAsync(const CUDA_MEMCPY2D* p, CUstream handle) {
  return call<"cuMemcpy2DAsync">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    need(p != nullptr);
    const box b{p->WidthInBytes, p->Height};
    const auto side = [&](address base, std::size_t pitch, std::size_t x, std::size_t y) {
      if (b.rows == 1 && pitch == 0) pitch = b.width + x;
      need(pitch >= b.width + x && pitch <= most_pitch);
      return place_at(f.w, base + x + y * pitch, pitch, 0);
    };
    const place from = side(address_of(p->srcMemoryType, p->srcHost, p->srcDevice), p->srcPitch,
                            p->srcXInBytes, p->srcY);
    const place to = side(address_of(p->dstMemoryType, p->dstHost, p->dstDevice), p->dstPitch,
                          p->dstXInBytes, p->dstY);
    return put_copy(f, s, to, from, b);
  });
}

FAKE_CUDA_API cuMemcpy3DAsync(const CUDA_MEMCPY3D* p, CUstream handle) {
  return call<"cuMemcpy3DAsync">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    need(p != nullptr && p->reserved0 == nullptr && p->reserved1 == nullptr);
    return put_box(f, s, *p);
  });
}

FAKE_CUDA_API cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_home, CUdeviceptr from,
                                CUcontext from_home, std::size_t bytes, CUstream handle) {
  return call<"cuMemcpyPeerAsync">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    need_context_record(f, to_home);
    need_context_record(f, from_home);
    return put_copy(f, s, place_at(f.w, to, bytes, 0), place_at(f.w, from, bytes, 0), {bytes});
  });
}

FAKE_CUDA_API cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER* p, CUstream handle) {
  return call<"cuMemcpy3DPeerAsync">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    need(p != nullptr);
    need_context_record(f, p->dstContext);
    need_context_record(f, p->srcContext);
    return put_box(f, s, *p);
  });
}

FAKE_CUDA_API cuMemsetD8Async(CUdeviceptr where, unsigned char value, std::size_t bytes,
                              CUstream handle) {
  return call<"cuMemsetD8Async">(reach::on(handle), [&](frame& f) {
    need_context(f);
    stream& s = need_stream(f, handle);
    const touched range{{where, where + bytes}, true};
    if (bytes > 0 && put_work(f, s, {&range, 1})) {
      std::memset(reinterpret_cast<void*>(where), value, bytes);
    }
    return CUDA_SUCCESS;
  });
}

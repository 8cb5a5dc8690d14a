#include <dlpack_bridge/cuda/gather_image.hpp>

#ifdef DLPACK_BRIDGE_GATHER_IMAGE
// The compiler's output as it is, without a detour through a source file of numbers.
asm(".pushsection .rodata, \"a\"\n"
    ".balign 16\n"
    ".globl dlpack_bridge_gather_image\n"
    ".hidden dlpack_bridge_gather_image\n"
    "dlpack_bridge_gather_image:\n"
    ".incbin \"" DLPACK_BRIDGE_GATHER_IMAGE
    "\"\n"
    ".popsection\n");

extern "C" [[gnu::visibility("hidden")]] const unsigned char dlpack_bridge_gather_image[];
#endif

namespace dlpack_bridge::cuda {

const void* gather_image() noexcept {
#ifdef DLPACK_BRIDGE_GATHER_IMAGE
  return dlpack_bridge_gather_image;
#else
  return nullptr;
#endif
}

}  // namespace dlpack_bridge::cuda

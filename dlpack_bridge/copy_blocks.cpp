#include <dlpack_bridge/copy_blocks.hpp>

#include <algorithm>
#include <cstdlib>

namespace dlpack_bridge::detail {
namespace {

/// Elements of a tile. The four buffers of the largest elements stay in the first-level cache.
constexpr extent tile_elements = 512;
constexpr extent largest_element = 16;
constexpr extent buffer_bytes = tile_elements * largest_element;

/// Rows this short are cheaper to gather than to convert one by one.
constexpr extent short_row = 16;

struct alignas(64) buffer {
  std::byte bytes[buffer_bytes];
};

}  // namespace

block_converter::block_converter(const road& way, extent from_itemsize, extent to_itemsize,
                                 const strided_block& shape) noexcept
    : steps_(way.size), from_itemsize_(from_itemsize), to_itemsize_(to_itemsize) {
  const kernel_table& table = kernels();
  for (int i = 0; i < steps_; ++i) {
    kernels_[i] = table[way.steps[i].operation];
    units_[i] = way.steps[i].units;
  }
  const bool transposed = std::abs(shape.from_row) < std::abs(shape.from_step);
  tile_count_ = std::min(shape.count, transposed ? extent{64} : tile_elements);
  tile_rows_ = std::min(shape.rows, tile_elements / tile_count_);
  const bool short_rows = tile_rows_ > 1 && shape.count < short_row;
  gather_ = shape.from_step != from_itemsize || short_rows;
  scatter_ = shape.to_step != to_itemsize || short_rows;
  if (!gather_ && !scatter_) tile_count_ = shape.count, tile_rows_ = shape.rows;

  strided_block in = shape;
  in.to_step = from_itemsize;
  in.to_row = tile_count_ * from_itemsize;
  gatherer_ = mover_for(in, from_itemsize);
  strided_block out = shape;
  out.from_step = to_itemsize;
  out.from_row = tile_count_ * to_itemsize;
  scatterer_ = mover_for(out, to_itemsize);
}

void block_converter::operator()(const strided_block& block) const {
  for (extent column = 0; column < block.count; column += tile_count_) {
    for (extent row = 0; row < block.rows; row += tile_rows_) {
      strided_block tile = block;
      tile.from += row * block.from_row + column * block.from_step;
      tile.to += row * block.to_row + column * block.to_step;
      tile.rows = std::min(tile_rows_, block.rows - row);
      tile.count = std::min(tile_count_, block.count - column);
      convert_tile(tile);
    }
  }
}

void block_converter::convert_tile(const strided_block& tile) const {
  buffer gathered, converted;
  strided_block in = tile, out = tile;
  if (gather_) {
    in.to = gathered.bytes;
    in.to_step = from_itemsize_;
    in.to_row = tile.count * from_itemsize_;
    gatherer_(in, from_itemsize_);
    in.from = gathered.bytes;
    in.from_row = in.to_row;
  }
  if (scatter_) {
    out.from = converted.bytes;
    out.from_step = to_itemsize_;
    out.from_row = tile.count * to_itemsize_;
    out.to = converted.bytes;
    out.to_row = out.from_row;
  }
  if (gather_ && scatter_) {
    convert_run(in.from, out.to, tile.rows * tile.count);
  } else {
    for (extent row = 0; row < tile.rows; ++row) {
      convert_run(in.from + row * in.from_row, out.to + row * out.to_row, tile.count);
    }
  }
  if (scatter_) {
    out.to = tile.to;
    out.to_row = tile.to_row;
    scatterer_(out, to_itemsize_);
  }
}

void block_converter::convert_run(const std::byte* from, std::byte* to, extent count) const {
  if (steps_ == 1) return kernels_[0](from, to, static_cast<std::size_t>(count * units_[0]));
  buffer between[2];
  for (extent done = 0; done < count; done += tile_elements) {
    const extent n = std::min(tile_elements, count - done);
    const std::byte* in = from + done * from_itemsize_;
    for (int i = 0; i < steps_; ++i) {
      const bool last = i == steps_ - 1;
      std::byte* out = last ? to + done * to_itemsize_ : between[i % 2].bytes;
      kernels_[i](in, out, static_cast<std::size_t>(n * units_[i]));
      in = out;
    }
  }
}

}  // namespace dlpack_bridge::detail

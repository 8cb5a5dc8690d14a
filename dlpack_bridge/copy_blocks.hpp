#pragma once

#include <cstddef>

#include <dlpack_bridge/copy_move.hpp>
#include <dlpack_bridge/copy_road.hpp>
#include <dlpack_bridge/copy_runs.hpp>
#include <dlpack_bridge/copy_tiles.hpp>
#include <dlpack_bridge/copy_widen.hpp>

namespace dlpack_bridge::detail {

/// Copies blocks of elements of any layout along a road. A block is cut into tiles that fit the
/// first-level cache; where the source of a tile does not lie side by side it is gathered into a
/// buffer first, where the destination does not the result is scattered from one. So a conversion
/// needs one kernel per step, not one per layout. Large results leave through streaming stores.
/// The buffers live on the stack of the caller.
class block_copier {
 public:
  /// `shape`: the steps of all blocks to come, and their most rows and elements.
  block_copier(const road& way, extent from_itemsize, extent to_itemsize,
               const strided_block& shape, bool streaming) noexcept;

  void operator()(const strided_block& block) const;
  /// Has to follow the last block of a thread.
  void finish() const noexcept;

 private:
  void choose_movers(const strided_block& shape) noexcept;

  void copy_transposed(const strided_block& block) const;
  void announce_tile(const strided_block& tile) const;
  void stream_lines(const strided_block& block, extent row, extent rows, extent begin,
                    extent end) const;
  void copy_rows(const strided_block& block) const;
  void copy_long_row(const strided_block& row) const;
  void stream_piece(const strided_block& row, extent first, extent count) const;
  void gather(const strided_block& tile, std::byte* to) const;
  void copy_tile(const strided_block& tile) const;
  void put(const strided_block& out) const;
  void convert(const strided_block& tile) const;

  run_converter convert_run_;
  int steps_;
  extent from_size_, to_size_;
  bool streaming_;
  bool transposed_;
  tile_size tile_;
  bool gather_ = false, scatter_ = false;
  mover gatherer_ = nullptr, scatterer_ = nullptr;
  widening widening_ = nullptr;  // for blocks that are large enough
};

}  // namespace dlpack_bridge::detail

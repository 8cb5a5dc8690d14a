#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include <dlpack/dlpack.h>

#include <dlpack_bridge/reason.hpp>

namespace dlpack_bridge {

/// An exchange that was refused. Carries every blocker, not only the first.
class exchange_error : public std::runtime_error {
 public:
  exchange_error(const std::string& message, std::vector<reason> blockers)
      : std::runtime_error(message), blockers_(std::move(blockers)) {}

  const std::vector<reason>& blockers() const noexcept { return blockers_; }

 private:
  std::vector<reason> blockers_;
};

/// A managed tensor of another major version. Its deleter has run when this is thrown.
class version_error : public exchange_error {
 public:
  explicit version_error(DLPackVersion found);

  DLPackVersion found() const noexcept { return found_; }

 private:
  DLPackVersion found_;
};

/// A call of a device's driver failed. The code and its name are the driver's.
class device_error : public std::runtime_error {
 public:
  device_error(int code, std::string name, const std::string& message)
      : std::runtime_error(message), code_(code), name_(std::move(name)) {}

  int code() const noexcept { return code_; }
  /// "CUDA_ERROR_ILLEGAL_ADDRESS", ...
  const std::string& name() const noexcept { return name_; }

 private:
  int code_;
  std::string name_;
};

}  // namespace dlpack_bridge

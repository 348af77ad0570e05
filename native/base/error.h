#pragma once
// Failures of the engine, each with a code that lib/errors.ts knows.
#include <stdexcept>
#include <string>
#include <utility>

namespace lp {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

/// Throws INTERNAL unless `condition` holds: for what only a defect of this library can break.
inline void require(bool condition, const char* message) {
  if (!condition) throw Error("INTERNAL", message);
}

}  // namespace lp

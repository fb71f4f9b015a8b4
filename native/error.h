// Failures of the engine: a stable code for programs, a message for people, and what to do next.
// The binding turns each into a JavaScript error with the same three parts.
#pragma once

#include <stdexcept>
#include <string>

namespace grpo {

class EngineError : public std::runtime_error {
  public:
    EngineError(std::string code, const std::string& message, std::string hint = "")
        : std::runtime_error(message), code_(std::move(code)), hint_(std::move(hint)) {}
    const std::string& code() const { return code_; }
    const std::string& hint() const { return hint_; }

  private:
    std::string code_;
    std::string hint_;
};

/// Re-check of something that TypeScript has validated already; failing means a bug or a foreign
/// caller.
inline void require(bool condition, const std::string& message) {
    if (!condition) throw EngineError("BAD_INPUT", message);
}

}  // namespace grpo

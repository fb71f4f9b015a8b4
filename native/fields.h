// How a plain struct says what it holds, once, for all that goes through it member by member: the
// boundary reads and writes structs so (binding/from_js.h, binding/to_js.h). A static `fields`
// shows every member to a visitor, under its name in JavaScript:
//
//   static void fields(auto& self, auto& field) {
//       field("groupSize", self.group_size);
//       field.optional("contextLength", self.context_length);  // absent: what the struct begins
//       with
//   }
//
// An enum has the table of its names beside it: a specialisation of kNames.
#pragma once

#include <array>
#include <string>

#include "error.h"

namespace grpo {

/// Visits nothing: what HasFields asks with.
struct AnyVisitor {
    template <typename T>
    void operator()(const char*, T&) {}
    template <typename T>
    void optional(const char*, T&) {}
};

template <typename T>
concept HasFields = requires(T& value, AnyVisitor& visitor) {
    T::fields(value, visitor);
};

template <typename Enum>
struct Named {
    const char* name;
    Enum value;
};

/// std::array<Named<Enum>, n> for the enums that cross.
template <typename Enum>
constexpr std::nullptr_t kNames = nullptr;

template <typename Enum>
std::string name_of(Enum value) {
    for (const Named<Enum>& named : kNames<Enum>) {
        if (named.value == value) return named.name;
    }
    throw EngineError("INTERNAL", "an enumerator without a name");
}

/// `what` names the value in the message.
template <typename Enum>
Enum enumerator_of(const std::string& name, const std::string& what) {
    std::string choices;
    for (const Named<Enum>& named : kNames<Enum>) {
        if (name == named.name) return named.value;
        choices += (choices.empty() ? "" : ", ") + std::string(named.name);
    }
    throw EngineError("BAD_INPUT", what + " cannot be " + name, "use one of " + choices);
}

}  // namespace grpo

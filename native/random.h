// Counter-based random numbers (Philox4x32-10; Salmon et al. 2011, "Parallel random numbers: as
// easy as 1, 2, 3"). A number is a pure function of a key and a counter, so a draw depends on what
// is drawn, never on what was drawn before it: completions do not change with the batch around
// them, the order of finishing, or the number of devices.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace grpo {

inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, uint64_t key) {
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t p0 = uint64_t{0xD2511F53} * counter[0];
        const uint64_t p1 = uint64_t{0xCD9E8D57} * counter[2];
        counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(p1),
                   static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(p0)};
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    return counter;
}

/// Uniform in [0, 1 - 2^-48], from the first 48 bits of a block.
inline double to_uniform(uint32_t high, uint32_t low) {
    const uint64_t bits = (uint64_t{high} << 16) | (low >> 16);
    return static_cast<double>(bits) * 0x1.0p-48;
}

/// The uniform of one drawn token.
inline double token_uniform(uint64_t seed, uint64_t step, uint32_t prompt_key, uint32_t sample,
                            uint32_t position) {
    const auto block = philox({static_cast<uint32_t>(step), prompt_key, sample, position}, seed);
    return to_uniform(block[0], block[1]);
}

/// FNV-1a, so that a named tensor has a random stream of its own.
inline uint32_t hash_name(std::string_view name) {
    uint32_t hash = 2166136261u;
    for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
    return hash;
}

/// The last word of the counters of elements.
constexpr uint32_t kElementStream = 0x6e697421u;
constexpr double kTwoPi = 6.283185307179586;

/// Element `index` of the stream of tensor `name`: two independent uniforms.
inline std::array<double, 2> element_uniforms(uint64_t seed, uint32_t name_hash, uint64_t index) {
    const auto block = philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                               name_hash, kElementStream},
                              seed);
    return {to_uniform(block[0], block[1]), to_uniform(block[2], block[3])};
}

/// Standard normal by Box-Muller.
inline double element_normal(uint64_t seed, uint32_t name_hash, uint64_t index) {
    const auto [u, v] = element_uniforms(seed, name_hash, index);
    return std::sqrt(-2.0 * std::log(1.0 - u)) * std::cos(kTwoPi * v);
}

}  // namespace grpo

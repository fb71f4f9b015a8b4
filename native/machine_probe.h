// What the machine can do right now, to hold measured speeds against: reading memory, and
// multiplying matrices through the same library calls that the engine makes.
#pragma once

#include <string>

namespace grpo {

struct MachineProbe {
    double read_gb_per_second = 0;   // one pass over memory that no cache holds
    double gemm_gflops_float32 = 0;  // square matrices, 2·n³ operations
    double gemm_gflops_bfloat16 = 0;

    static void fields(auto& self, auto& field) {
        field("readGBPerSecond", self.read_gb_per_second);
        field("gemmGflopsFloat32", self.gemm_gflops_float32);
        field("gemmGflopsBfloat16", self.gemm_gflops_bfloat16);
    }
};

/// The best of a few tries, each on `threads` threads (0: the library's choice).
MachineProbe probe_machine(const std::string& device, int threads);

}  // namespace grpo

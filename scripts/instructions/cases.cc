// Fixed small work for every kind of kernel, whose instructions scripts/instructions.ts counts. One case a process; what is counted
// is inside measured().
//   cases NAME        runs it once
//   cases             lists the names
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/kernels.h"

namespace grpo::cpu {
extern const Kernels kAvx2Kernels;
}

namespace {

using namespace grpo::cpu;

const Kernels& kernels = kAvx2Kernels;

std::vector<float> numbers(int64_t count) {
    std::vector<float> values(count);
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>((i * 7919) % 255 - 127) / 64;
    return values;
}

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};
std::unique_ptr<void, Free> aligned(int64_t bytes) {
    return std::unique_ptr<void, Free>(std::aligned_alloc(64, (bytes + 127) / 64 * 64));
}

/// Its symbol begins and ends the count.
extern "C" __attribute__((noinline)) void measured(const std::function<void()>& work) { work(); }

/// c = a b with b [k, n] in that form: of a weight that is packed, k and n are those of the product.
void multiply(int64_t m, int64_t n, int64_t k, Storage storage, Form form) {
    const std::vector<float> a = numbers(m * k), b = numbers(form == Form::kMatrix ? n * k : 1);
    std::vector<float> c(m * n);
    const bool turned = form == Form::kTurned;
    const int64_t outs = turned ? k : n, ins = turned ? n : k;
    const int64_t panel_words = steps_of(storage, ins) * kPanelColumns;
    const auto words = aligned(panels_of(outs) * panel_words * 4);
    if (form != Form::kMatrix)
        std::memset(words.get(), 0x3c, panels_of(outs) * panel_words * 4);
    const Product product{.m = m,
                          .n = n,
                          .k = k,
                          .storage = storage,
                          .a = {a.data(), k, 1},
                          .form = form,
                          .b = {b.data(), 1, k},
                          .panels = {static_cast<const uint32_t*>(words.get()), panel_words, kPanelColumns},
                          .c = c.data(),
                          .c_stride = n};
    const auto scratch = aligned(kernels.gemm.scratch_bytes(product));
    measured([&] { kernels.gemm.multiply(product, scratch.get()); });
}

void rows(const std::function<void(std::vector<float>& x, std::vector<float>& y)>& pass) {
    std::vector<float> x = numbers(16 * 1024), y = numbers(16 * 1024);
    measured([&] { pass(x, y); });
}

const std::map<std::string, std::function<void()>> kCases = {
    {"decode, bfloat16, 1 row", [] { multiply(1, 256, 512, Storage::kBFloat16, Form::kPanels); }},
    {"decode, bfloat16, 8 rows", [] { multiply(8, 256, 512, Storage::kBFloat16, Form::kPanels); }},
    {"prompt, bfloat16", [] { multiply(40, 128, 512, Storage::kBFloat16, Form::kPanels); }},
    {"prompt, float32", [] { multiply(40, 128, 512, Storage::kFloat, Form::kPanels); }},
    {"gradient by the input, bfloat16",
     [] { multiply(40, 128, 512, Storage::kBFloat16, Form::kTurned); }},
    {"gradient by the input, float32", [] { multiply(40, 128, 512, Storage::kFloat, Form::kTurned); }},
    {"pair of rank 16", [] { multiply(40, 16, 512, Storage::kFloat, Form::kMatrix); }},
    {"scores of a head", [] { multiply(48, 100, 64, Storage::kBFloat16, Form::kMatrix); }},
    {"norm",
     [] {
         rows([](auto& x, auto& y) {
             kernels.rows.rms_norm(x.data(), y.data(), 0, 1e-6F, 16, 1024, y.data(), nullptr);
         });
     }},
    {"gated activation",
     [] { rows([](auto& x, auto& y) { kernels.rows.gated(x.data(), false, 16, 512, y.data()); }); }},
    {"softmax",
     [] {
         rows([](auto& x, auto&) {
             for (int i = 0; i < 16; ++i) kernels.rows.softmax(x.data() + i * 1000, 1000);
         });
     }},
    {"log-probability",
     [] {
         rows([](auto& x, auto&) {
             LogitRow row{.size = 16 * 1024, .target = 5, .inverse_temperature = 1};
             kernels.rows.score(x.data(), row);
         });
     }},
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        for (const auto& [name, run] : kCases) std::puts(name.c_str());
        return 0;
    }
    kCases.at(argv[1])();
}

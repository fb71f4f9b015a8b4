#include "binding/for_tests.h"

#include <ATen/Functions.h>

#include <string>
#include <vector>

#include "binding/call.h"
#include "device.h"
#include "engine.h"
#include "engine_limits.h"
#include "error.h"
#include "kernels/gemm.h"
#include "kernels/instruction_set.h"
#include "kernels/kernels.h"
#include "kernels/packed_matrix.h"
#include "kernels/row_sampler.h"
#include "rollout/sampler.h"

namespace grpo {
namespace {

LossAndGradient loss_of(const ScoredBatch& batch, const LossOptions& options) {
    const size_t tokens = batch.logprobs.size();
    const auto of_tokens = [&](const auto& values) {
        return values.empty() || values.size() == tokens;
    };
    const std::vector<int32_t>& offsets = batch.completion_offsets;
    require(offsets.size() == batch.advantages.size() + 1 &&
                static_cast<size_t>(offsets.back()) == tokens && batch.entropy.size() == tokens &&
                of_tokens(batch.old) && of_tokens(batch.reference) && of_tokens(batch.loss_mask) &&
                of_tokens(batch.token_advantages),
            "offsets, advantages, logprobs, entropy, old, reference and lossMask disagree");
    return loss_and_gradient(batch, options);
}

/// c [m, n] = scale · a b, or += with `add`; element (i, j) stands at i · strides[0] +
/// j · strides[1].
struct MatrixProduct {
    int64_t m = 0, n = 0, k = 0;
    std::vector<float> a, b, c;
    std::vector<int32_t> a_strides, b_strides;  // [2]
    int64_t c_stride = 0;                       // between rows
    double scale = 1;
    bool narrow = false;  // b in bfloat16
    bool add = false;
    bool generic = false;  // by the kernels that every processor can run
    std::string form =
        "matrix";  // of b: or packed, as "panels", or those of its transpose, "turned"

    static void fields(auto& self, auto& field) {
        field("m", self.m);
        field("n", self.n);
        field("k", self.k);
        field("a", self.a);
        field("aStrides", self.a_strides);
        field("b", self.b);
        field("bStrides", self.b_strides);
        field("narrow", self.narrow);
        field("c", self.c);
        field("cStride", self.c_stride);
        field("scale", self.scale);
        field("add", self.add);
        field("generic", self.generic);
        field("form", self.form);
    }
};

void check_sizes(const MatrixProduct& call) {
    require(call.a_strides.size() == 2 && call.b_strides.size() == 2, "a matrix has two strides");
    const auto within = [](int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride,
                           const std::vector<float>& values) {
        return row_stride >= 0 && column_stride >= 0 &&
               (rows - 1) * row_stride + (columns - 1) * column_stride <
                   static_cast<int64_t>(values.size());
    };
    require(call.m > 0 && call.n > 0 && call.k > 0 &&
                within(call.m, call.k, call.a_strides[0], call.a_strides[1], call.a) &&
                within(call.k, call.n, call.b_strides[0], call.b_strides[1], call.b) &&
                within(call.m, call.n, call.c_stride, 1, call.c),
            "sizes, strides and numbers disagree");
}

std::vector<float> multiply_matrices(const MatrixProduct& call) {
    check_sizes(call);
    at::Tensor b = to_device(call.b, at::kCPU);
    if (call.narrow) b = b.to(at::kBFloat16);
    std::vector<float> c = call.c;
    const cpu::Storage storage = cpu::storage_of(b.scalar_type());
    cpu::Product product{.m = call.m,
                         .n = call.n,
                         .k = call.k,
                         .storage = storage,
                         .a = {call.a.data(), call.a_strides[0], call.a_strides[1]},
                         .scale = static_cast<float>(call.scale),
                         .b = {b.const_data_ptr(), call.b_strides[0], call.b_strides[1], storage},
                         .c = c.data(),
                         .c_stride = call.c_stride,
                         .add = call.add};
    const at::Tensor columns =
        at::as_strided(b, {call.n, call.k}, {call.b_strides[1], call.b_strides[0]});
    const cpu::PackedMatrix packed(call.form == "turned" ? columns.t() : columns);
    if (call.form != "matrix") {
        product.form = call.form == "turned" ? cpu::Form::kTurned : cpu::Form::kPanels;
        product.panels = packed.panels();
        require(at::equal(packed.unpack(), call.form == "turned" ? columns.t() : columns),
                "packing loses nothing");
        const at::Tensor ids = at::arange(packed.out() - 1, -1, -1, at::kLong);
        require(at::equal(packed.rows(ids), packed.unpack().flip(0)),
                "rows are those of the weight");
    }
    const auto set = call.generic ? cpu::InstructionSet::kGeneric : cpu::instruction_set();
    cpu::multiply(cpu::kernels_of(set).gemm, product);
    return c;
}

/// The part of a SampleRequest that shapes a distribution.
struct Filters {
    SampleRequest request;

    static void fields(auto& self, auto& field) {
        field("temperature", self.request.temperature);
        field("topP", self.request.top_p);
        field("topK", self.request.top_k);
        field("minP", self.request.min_p);
        field("repetitionPenalty", self.request.repetition_penalty);
        field.optional("plain", self.request.plain);
    }
};

/// By the kernels of the CPU, row by row: [rows · V].
std::vector<float> kernel_probabilities(const std::vector<float>& logits,
                                        const std::vector<uint8_t>& seen, int64_t rows,
                                        const SampleRequest& request) {
    const auto vocab_size = static_cast<int64_t>(logits.size()) / rows;
    cpu::RowSampler sampler(vocab_size);
    std::vector<float> result;
    for (int64_t row = 0; row < rows; ++row) {
        std::vector<int32_t> ids;  // that were seen
        for (int64_t id = 0; id < vocab_size; ++id) {
            if (seen[row * vocab_size + id] != 0) ids.push_back(static_cast<int32_t>(id));
        }
        const std::vector<float> probabilities =
            sampler.probabilities(logits.data() + row * vocab_size, {.drawing = &request,
                                                                     .uniform = 0,
                                                                     .restriction = {},
                                                                     .prompt = ids,
                                                                     .completion = {}});
        result.insert(result.end(), probabilities.begin(), probabilities.end());
    }
    return result;
}

std::vector<float> sampling_probabilities(const std::vector<float>& logits,
                                          const std::vector<uint8_t>& seen, int64_t rows,
                                          const Filters& filters) {
    require(
        rows > 0 && !logits.empty() && logits.size() % rows == 0 && seen.size() == logits.size(),
        "logits and seen disagree");
    const SampleRequest& request = filters.request;
    if (!request.plain) return kernel_probabilities(logits, seen, rows, request);
    const at::Tensor scores = to_device(logits, at::kCPU).view({rows, -1});
    const at::Tensor marks = to_device(seen, at::kCPU).view({rows, -1}).to(at::kBool);
    ReadBack read_back;
    return read_back.operator()<float>(
        process_logits(scores, {.seen = marks, .replacement = {}}, request).softmax(-1));
}

/// Reads the struct and writes it back: what arrives of an object, field by field.
template <typename Struct>
Napi::Function echo_of(Napi::Env env) {
    return function_of(env, [](const Struct& value) { return value; });
}

}  // namespace

void export_for_tests(Napi::Env env, Napi::Object exports) {
    exports.Set("lossAndGradient",
                function_of(env, [](const ScoredBatch& batch, const LossOptions& options) {
                    return loss_of(batch, options);
                }));
    exports.Set("multiplyMatrices", function_of(env, [](const MatrixProduct& product) {
                    return multiply_matrices(product);
                }));
    exports.Set("samplingProbabilities", function_of(env, [](const std::vector<float>& logits,
                                                             const std::vector<uint8_t>& seen,
                                                             int64_t rows, const Filters& filters) {
                    return sampling_probabilities(logits, seen, rows, filters);
                }));
    exports.Set("limits", to_js(env, kLimits));
    Napi::Object echo = Napi::Object::New(env);
    echo.Set("modelConfig", echo_of<ModelConfig>(env));
    echo.Set("adapterSpec", echo_of<AdapterSpec>(env));
    echo.Set("tensorTable", echo_of<TensorTable>(env));
    echo.Set("sampleRequest", echo_of<SampleRequest>(env));
    echo.Set("trainBatch", echo_of<TrainBatch>(env));
    echo.Set("lossOptions", echo_of<LossOptions>(env));
    echo.Set("sftBatch", echo_of<SftBatch>(env));
    echo.Set("sftOptions", echo_of<SftOptions>(env));
    echo.Set("optimizerOptions", echo_of<OptimizerOptions>(env));
    exports.Set("echo", echo);
}

}  // namespace grpo

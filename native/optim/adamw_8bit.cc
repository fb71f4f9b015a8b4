// AdamW whose moments are kept in 8 bits (Dettmers et al. 2022, block-wise dynamic quantization): a
// block of 256 numbers keeps its largest magnitude in fp32 and each number as an index into a table
// of 256 values, dense near zero:
//   m: 0, 1, and ±10^(i-6) · c for i = 0..6, c the midpoints of 2^i equal parts of [0.1, 1]
//   v: 0, 1, and  10^(i-6) · c for i = 0..6, c the midpoints of 2^(i+1) equal parts
// A step computes with fp32 moments and rounds them afterwards to the nearest entries. v never
// rounds to 0: the next step would divide by it. Biases and norms keep fp32 moments: they are few,
// and uneven.
#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>

#include "optim/optimizer.h"

namespace grpo {
namespace {

constexpr int64_t kBlock = 256;
constexpr int64_t kStepBlocks = int64_t{16} << 10;  // updated at a time: 4 Mi numbers

std::vector<float> make_table(bool has_sign) {
    std::vector<float> table{0, 1};
    for (int exponent = 0; exponent < 7; ++exponent) {
        const int parts = 1 << (has_sign ? exponent : exponent + 1);
        for (int i = 0; i < parts; ++i) {
            const double fraction = 0.1 + 0.9 * (i + 0.5) / parts;
            const auto value = static_cast<float>(std::pow(10.0, exponent - 6) * fraction);
            table.push_back(value);
            if (has_sign) table.push_back(-value);
        }
    }
    std::sort(table.begin(), table.end());
    return table;
}

/// Numbers of one moment, quantized.
class Moment {
  public:
    Moment(int64_t blocks, bool has_sign, at::Device device) : lowest_code_(has_sign ? 0 : 1) {
        const std::vector<float> table = make_table(has_sign);
        std::vector<float> midpoints;
        for (size_t i = 0; i + 1 < table.size(); ++i)
            midpoints.push_back((table[i] + table[i + 1]) / 2);
        table_ = to_device(table, device);
        midpoints_ = to_device(midpoints, device);
        const auto options = at::TensorOptions().device(device);
        const auto zero = std::find(table.begin(), table.end(), 0.0F) - table.begin();
        codes_ = at::full({blocks, kBlock}, static_cast<double>(zero), options.dtype(at::kByte));
        scales_ = at::zeros({blocks, 1}, options.dtype(at::kFloat));
    }

    at::Tensor read(int64_t block, int64_t blocks) const {  // [blocks, kBlock] fp32
        const at::Tensor codes = codes_.narrow(0, block, blocks).to(at::kInt);
        return table_.index_select(0, codes.view({-1}))
            .view({blocks, kBlock})
            .mul_(scales_.narrow(0, block, blocks));
    }

    void write(int64_t block, const at::Tensor& values) {
        const at::Tensor scales = values.abs().amax(-1, /*keepdim=*/true);  // [blocks, 1]
        // A block of zeros has no scale to divide by; its entries are read as 0 whatever they are.
        const at::Tensor shares = values / scales.clamp_min(1e-38);
        const at::Tensor codes = at::bucketize(shares, midpoints_, /*out_int32=*/true);
        codes_.narrow(0, block, values.size(0)).copy_(codes.clamp_min_(lowest_code_));
        scales_.narrow(0, block, values.size(0)).copy_(scales);
    }

    const at::Tensor& codes() const { return codes_; }
    const at::Tensor& scales() const { return scales_; }

  private:
    int64_t lowest_code_;
    at::Tensor table_;      // [256] ascending
    at::Tensor midpoints_;  // [255] between neighbours of the table
    at::Tensor codes_;      // [blocks, kBlock] uint8
    at::Tensor scales_;     // [blocks, 1]
};

class AdamW8bit : public Optimizer {
  public:
    explicit AdamW8bit(const Parameters& parameters)
        : quantized_(parameters.values.numel() - vectors(parameters).size),
          m_(blocks_of(quantized_), /*has_sign=*/true, parameters.values.device()),
          v_(blocks_of(quantized_), /*has_sign=*/false, parameters.values.device()),
          vector_m_(at::zeros({vectors(parameters).size}, parameters.values.options())),
          vector_v_(at::zeros_like(vector_m_)) {}

    void step(Parameters& parameters, const OptimizerOptions& options) override {
        for (int64_t block = 0; block < blocks_of(quantized_); block += kStepBlocks) {
            const int64_t blocks = std::min(kStepBlocks, blocks_of(quantized_) - block);
            const at::Tensor m = m_.read(block, blocks), v = v_.read(block, blocks);
            update(parameters, options, block * kBlock, m.view({-1}), v.view({-1}));
            m_.write(block, m);
            v_.write(block, v);
        }
        const ParameterRange range = vectors(parameters);
        if (range.size == 0) return;
        adamw_update(parameters.values.narrow(0, range.start, range.size),
                     parameters.gradient.narrow(0, range.start, range.size), vector_m_, vector_v_,
                     options, of_group(options, ParameterGroup::kVector), parameters.steps);
    }

    /// Blocks do not end where tensors do, so each is stored as a whole.
    std::vector<std::pair<std::string, at::Tensor>> memory(const Parameters&) const override {
        std::vector<std::pair<std::string, at::Tensor>> list{{"exp_avg.codes", m_.codes()},
                                                             {"exp_avg.scales", m_.scales()},
                                                             {"exp_avg_sq.codes", v_.codes()},
                                                             {"exp_avg_sq.scales", v_.scales()}};
        if (vector_m_.numel() > 0) {
            list.emplace_back("vectors.exp_avg", vector_m_);
            list.emplace_back("vectors.exp_avg_sq", vector_v_);
        }
        return list;
    }

  private:
    static int64_t blocks_of(int64_t count) { return (count + kBlock - 1) / kBlock; }
    /// The last of the groups.
    static ParameterRange vectors(const Parameters& parameters) {
        return parameters.groups()[static_cast<size_t>(ParameterGroup::kVector)];
    }

    /// The numbers from `from` on, as many as the moments have, group by group.
    void update(Parameters& parameters, const OptimizerOptions& options, int64_t from,
                const at::Tensor& m, const at::Tensor& v) const {
        const int64_t end = std::min(from + m.numel(), quantized_);
        for (size_t index = 0; index < kParameterGroups; ++index) {
            const ParameterRange range = parameters.groups()[index];
            const int64_t begin = std::max(from, range.start);
            const int64_t n = std::min(end, range.start + range.size) - begin;
            if (n <= 0) continue;
            adamw_update(parameters.values.narrow(0, begin, n),
                         parameters.gradient.narrow(0, begin, n), m.narrow(0, begin - from, n),
                         v.narrow(0, begin - from, n), options,
                         of_group(options, static_cast<ParameterGroup>(index)), parameters.steps);
        }
    }

    int64_t quantized_;  // numbers before the vectors
    Moment m_, v_;
    at::Tensor vector_m_, vector_v_;  // [vectors]
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw_8bit(const Parameters& parameters) {
    return std::make_unique<AdamW8bit>(parameters);
}

}  // namespace grpo

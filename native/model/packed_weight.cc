// A weight that is kept as the products of a CPU read it (kernels/packed_matrix.h), and in no other
// form: what reads or writes its values gets a copy for as long as that takes.
#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "error.h"
#include "kernels/packed_matrix.h"
#include "model/weight.h"

namespace grpo {
namespace {

constexpr int64_t kPieceBytes = 4 << 20;  // of values that are written at a time

class PackedWeight : public Weight {
  public:
    /// Parts share a matrix where they begin with a panel.
    struct Block {
        cpu::PackedMatrix matrix;
        int64_t start;  // of its rows
    };

    PackedWeight(std::vector<Block> blocks, int64_t out) : blocks_(std::move(blocks)), out_(out) {}

    int64_t out() const override { return out_; }
    int64_t in() const override { return blocks_[0].matrix.in(); }
    at::ScalarType dtype() const override { return blocks_[0].matrix.dtype(); }
    at::Device device() const override { return at::kCPU; }

    at::Tensor product(const at::Tensor& x, const at::Tensor& bias) const override {
        const c10::NoGradGuard no_grad;
        const at::Tensor rows = x.contiguous();
        at::Tensor y = at::empty({x.size(0), out_}, rows.options());
        multiply(rows.const_data_ptr<float>(), x.size(0), y.mutable_data_ptr<float>(), out_);
        return bias.defined() ? y.add_(bias) : y;
    }

    at::Tensor product_backward(const at::Tensor& dy) const override {
        const c10::NoGradGuard no_grad;
        const at::Tensor rows = dy.contiguous();
        at::Tensor dx = at::empty({dy.size(0), in()}, rows.options());
        for (const Block& block : blocks_) {
            at::Tensor part = &block == blocks_.data() ? dx : at::empty_like(dx);
            block.matrix.multiply_turned(rows.const_data_ptr<float>() + block.start, out_,
                                         dy.size(0), part.mutable_data_ptr<float>());
            if (!part.is_same(dx)) dx.add_(part);
        }
        return dx;
    }

    void multiply(const float* x, int64_t rows, float* y, int64_t stride) const override {
        if (rows == 0) return;
        for (const Block& block : blocks_) block.matrix.multiply(x, rows, y + block.start, stride);
    }

    std::shared_ptr<const Weight> packed() const override { return shared_from_this(); }

    at::Tensor rows(const at::Tensor& ids) const override {
        require(blocks_.size() == 1, "an embedding has one part");
        return blocks_[0].matrix.rows(ids);
    }

    std::shared_ptr<Weight> part(int64_t start, int64_t count) const override {
        const auto holds = [&](const Block& block) {
            return block.start <= start && start + count <= block.start + block.matrix.out();
        };
        const auto block = std::find_if(blocks_.begin(), blocks_.end(), holds);
        require(block != blocks_.end(), "a part of a weight lies in one of its blocks");
        const cpu::PackedMatrix matrix = block->matrix.part(start - block->start, count);
        return std::make_shared<PackedWeight>(std::vector<Block>{{matrix, 0}}, count);
    }

    std::shared_ptr<Weight> copy() const override {
        std::vector<Block> blocks;
        for (const Block& block : blocks_) blocks.push_back({block.matrix.copy(), block.start});
        return std::make_shared<PackedWeight>(std::move(blocks), out_);
    }

    at::Tensor dense() const override {
        if (blocks_.size() == 1) return blocks_[0].matrix.unpack();
        std::vector<at::Tensor> values;
        for (const Block& block : blocks_) values.push_back(block.matrix.unpack());
        return at::cat(values);
    }

    void change(const Write& write) override {
        const int64_t row_bytes = in() * static_cast<int64_t>(c10::elementSize(dtype()));
        const int64_t panels = std::max<int64_t>(1, kPieceBytes / (row_bytes * cpu::kPanelColumns));
        const int64_t step = panels * cpu::kPanelColumns;
        for (const Block& block : blocks_) {
            for (int64_t row = 0; row < block.matrix.out(); row += step) {
                cpu::PackedMatrix piece =
                    block.matrix.part(row, std::min(step, block.matrix.out() - row));
                const at::Tensor values = piece.unpack();
                write(values, block.start + row);
                piece.pack(values);
            }
        }
    }

  private:
    std::vector<Block> blocks_;
    int64_t out_;
};

}  // namespace

std::shared_ptr<Weight> new_weight(const std::vector<int64_t>& outs, int64_t in,
                                   const at::TensorOptions& options) {
    const auto dtype = c10::typeMetaToScalarType(options.dtype());
    int64_t out = 0;
    for (const int64_t part : outs) out += part;
    if (!options.device().is_cpu() || !cpu::can_store(dtype))
        return dense_weight(at::empty({out, in}, options));
    std::vector<PackedWeight::Block> blocks;
    int64_t start = 0, count = 0;
    for (size_t i = 0; i < outs.size(); ++i) {
        count += outs[i];
        if (i + 1 < outs.size() && count % cpu::kPanelColumns == 0) continue;
        blocks.push_back({cpu::PackedMatrix(count, in, dtype), start});
        start += std::exchange(count, 0);
    }
    return std::make_shared<PackedWeight>(std::move(blocks), out);
}

}  // namespace grpo

// The feed-forward of dense models: down(act(gate(x)) · up(x)).
#include "kernels/parallel.h"
#include "kernels/row_kernels.h"
#include "model/feed_forward.h"
#include "model/linear.h"

namespace grpo {
namespace {

constexpr int64_t kExpCost = 8;  // multiplications

class DecodeGatedMlp : public DecodeFeedForward {
  public:
    DecodeGatedMlp(const Linear& gate_up, const Linear& down, Activation activation,
                   const ForwardMode& mode)
        : gate_up_(gate_up, mode), down_(down, mode), gelu_(activation == Activation::kGeluTanh) {}

    void forward(const float* x, int64_t rows, float* y, Workspace& workspace) const override {
        const int64_t size = gate_up_.out() / 2;
        float* gate_up = workspace.gate_up.floats(rows * 2 * size);  // [rows, 2 F]
        float* activated = workspace.activated.floats(rows * size);  // [rows, F]
        gate_up_.forward(x, rows, gate_up, workspace);
        cpu::parallel(rows, kExpCost * size, [&](int64_t begin, int64_t end) {
            cpu::row_kernels().gated(gate_up + begin * 2 * size, gelu_, end - begin, size,
                                     activated + begin * size);
        });
        down_.forward(activated, rows, y, workspace);
    }

  private:
    DecodeLinear gate_up_, down_;
    bool gelu_;
};

class GatedMlp : public FeedForward {
  public:
    GatedMlp(const BaseModel& base, const FeedForwardModules& modules, Activation activation)
        : gate_up_(base, modules.gate_up), down_(base, modules.down), activation_(activation) {}

    at::Tensor forward(const LinearInput& input, const ForwardMode& mode,
                       const at::Tensor& residual) const override {
        LinearInput activated;
        activated.x = gate_up_.forward(input, mode);  // [N, 2 F]
        activated.activation = activation_;
        return down_.forward(activated, mode, residual);
    }

    std::unique_ptr<DecodeFeedForward> for_decoding(const ForwardMode& mode) const override {
        return std::make_unique<DecodeGatedMlp>(gate_up_, down_, activation_, mode);
    }

  private:
    Linear gate_up_;  // C -> 2 F: gate and up beside each other
    Linear down_;     // F -> C
    Activation activation_;
};

}  // namespace

std::unique_ptr<FeedForward> make_feed_forward(const BaseModel& base,
                                               const FeedForwardModules& modules,
                                               Activation activation) {
    return std::make_unique<GatedMlp>(base, modules, activation);
}

}  // namespace grpo

// Shape-only kernels for operators whose meta version exists in Python alone. They are used on the
// meta device and nowhere else: the whole engine runs there in a test, which proves that nothing
// reads a tensor back on the side.
#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>
#include <torch/library.h>

namespace grpo {
namespace {

at::Tensor where_meta(const at::Tensor& condition, const at::Tensor& self,
                      const at::Tensor& other) {
    const auto shape =
        at::infer_size(condition.sizes(), at::infer_size(self.sizes(), other.sizes()));
    return at::empty(shape, self.options().dtype(at::result_type(self, other)).device(at::kMeta));
}

at::Tensor& where_out_meta(const at::Tensor& condition, const at::Tensor& self,
                           const at::Tensor& other, at::Tensor& out) {
    out.resize_(where_meta(condition, self, other).sizes());
    return out;
}

at::Tensor& logical_and_out_meta(const at::Tensor& self, const at::Tensor& other, at::Tensor& out) {
    out.resize_(at::infer_size(self.sizes(), other.sizes()));
    return out;
}

at::Tensor logical_not_meta(const at::Tensor& self) {
    return at::empty_like(self, self.options().dtype(at::kBool));
}

at::Tensor& index_put_meta(at::Tensor& self,
                           const c10::List<std::optional<at::Tensor>>& /*indices*/,
                           const at::Tensor& /*values*/, bool /*accumulate*/, bool /*unsafe*/) {
    return self;
}

using FlashForward = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

FlashForward flash_attention_meta(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const std::optional<at::Tensor>& /*query_starts*/,
                                  const std::optional<at::Tensor>& /*key_starts*/,
                                  int64_t /*longest_query*/, int64_t /*longest_key*/,
                                  double /*dropout*/, bool /*causal*/, bool /*return_mask*/,
                                  std::optional<double> /*scale*/, std::optional<int64_t> /*left*/,
                                  std::optional<int64_t> /*right*/,
                                  const std::optional<at::Tensor>& /*used_keys*/,
                                  const std::optional<at::Tensor>& /*slopes*/,
                                  const std::optional<at::Tensor>& /*blocks*/,
                                  std::optional<int64_t> /*splits*/) {
    const auto floats = q.options().dtype(at::kFloat);
    const at::Tensor state = at::empty({2}, q.options().dtype(at::kUInt64));
    return {at::empty(q.sizes(), q.options()), at::empty({q.size(1), q.size(0)}, floats), state,
            state, at::empty({0}, q.options())};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> flash_attention_backward_meta(
    const at::Tensor& /*dout*/, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& /*out*/, const at::Tensor& /*log_sum*/, const at::Tensor& /*query_starts*/,
    const at::Tensor& /*key_starts*/, int64_t /*longest_query*/, int64_t /*longest_key*/,
    double /*dropout*/, bool /*causal*/, const at::Tensor& /*state*/, const at::Tensor& /*unused*/,
    std::optional<double> /*scale*/, std::optional<int64_t> /*left*/,
    std::optional<int64_t> /*right*/) {
    const auto like = [](const at::Tensor& x) { return at::empty(x.sizes(), x.options()); };
    return {like(q), like(k), like(v)};
}

std::tuple<at::Tensor, at::Tensor> fused_rms_norm_backward_meta(
    const at::Tensor& /*dy*/, const at::Tensor& x, at::IntArrayRef /*shape*/,
    const at::Tensor& /*scale*/, const std::optional<at::Tensor>& weight,
    std::array<bool, 2> /*needed*/) {
    return {at::empty(x.sizes(), x.options()), at::empty(weight->sizes(), weight->options())};
}

void fused_adamw_meta(at::TensorList /*values*/, at::TensorList /*gradients*/,
                      at::TensorList /*exp_avgs*/, at::TensorList /*exp_avg_sqs*/,
                      at::TensorList /*largest*/, at::TensorList /*steps*/, double /*rate*/,
                      double /*beta1*/, double /*beta2*/, double /*weight_decay*/, double /*eps*/,
                      bool /*amsgrad*/, bool /*maximize*/,
                      const std::optional<at::Tensor>& /*scale*/,
                      const std::optional<at::Tensor>& /*found_inf*/) {}

}  // namespace
}  // namespace grpo

TORCH_LIBRARY_IMPL(aten, Meta, library) {
    library.impl("where.self", grpo::where_meta);
    library.impl("where.self_out", grpo::where_out_meta);
    library.impl("logical_and.out", grpo::logical_and_out_meta);
    library.impl("_index_put_impl_", grpo::index_put_meta);
    library.impl("logical_not", grpo::logical_not_meta);
    library.impl("_fused_rms_norm_backward", grpo::fused_rms_norm_backward_meta);
    library.impl("_fused_adamw_", grpo::fused_adamw_meta);
    library.impl("_flash_attention_forward", grpo::flash_attention_meta);
    library.impl("_flash_attention_backward", grpo::flash_attention_backward_meta);
}

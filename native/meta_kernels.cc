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

}  // namespace
}  // namespace grpo

TORCH_LIBRARY_IMPL(aten, Meta, library) {
    library.impl("where.self", grpo::where_meta);
    library.impl("where.self_out", grpo::where_out_meta);
    library.impl("logical_and.out", grpo::logical_and_out_meta);
    library.impl("_index_put_impl_", grpo::index_put_meta);
    library.impl("logical_not", grpo::logical_not_meta);
}

#include "model/rope.h"

#include <ATen/Functions.h>

namespace grpo {

RopeTable make_rope_table(const at::Tensor& positions, const at::Tensor& inv_freq, double scaling,
                          at::ScalarType dtype) {
    const at::Tensor half =
        positions.to(inv_freq.scalar_type()).unsqueeze(1) * inv_freq;  // [N, D/2]
    const at::Tensor angles = at::cat({half, half}, -1).unsqueeze(1);  // [N, 1, D]
    // The factor is 1 for all but a few scaling variants.
    if (scaling == 1) return {angles.cos().to(dtype), angles.sin().to(dtype)};
    return {(angles.cos() * scaling).to(dtype), (angles.sin() * scaling).to(dtype)};
}

at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table) {
    const int64_t half = x.size(-1) / 2;
    const at::Tensor rotated = at::cat({x.narrow(-1, half, half).neg(), x.narrow(-1, 0, half)}, -1);
    return x * table.cos + rotated * table.sin;
}

}  // namespace grpo

// The row kernels for whole tensors: fp32, on a CPU, shared out over the threads. Callers ask
// `fits` first; all other dtypes and devices take ATen's operators.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "kernels/row_kernels.h"

namespace grpo::cpu {

/// Whether x is in fp32 on a CPU.
bool fits(const at::Tensor& x);

struct NormedRows {
    at::Tensor y;      // like x
    at::Tensor scale;  // [.., 1]
};
/// x [.., C], weight [C] in any narrower dtype.
NormedRows rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, double offset);
/// dx; adds to dweight [C] fp32 where it is defined.
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& scale, double offset, const at::Tensor& dweight);

/// gate_up [N, 2F] -> [N, F], and its gradient [N, 2F].
at::Tensor gated(const at::Tensor& gate_up, bool gelu);
at::Tensor gated_backward(const at::Tensor& dy, const at::Tensor& gate_up, bool gelu);

/// cap · tanh(x / cap).
at::Tensor softcap(const at::Tensor& x, double cap);

/// x [N, heads, D], cos and sin [N, 1, D_rot] -> [N, heads, D].
at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                double direction);

/// logits [n, V] contiguous, targets [n] int64.
std::vector<LogitRow> score(const at::Tensor& logits, const at::Tensor& targets,
                            double temperature);
/// One number of each row as a tensor [n].
at::Tensor of_rows(const std::vector<LogitRow>& rows, float LogitRow::*member);
/// logits <- dloss/dlogits, with dl [n] and dh [n] or undefined.
void score_backward(at::Tensor& logits, const std::vector<LogitRow>& rows, const at::Tensor& dl,
                    const at::Tensor& dh);

}  // namespace grpo::cpu

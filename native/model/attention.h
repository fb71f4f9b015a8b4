// What attention sees. Linear layers work on flat tokens without padding; only attention needs to
// know which token belongs where. A pass gives the decoder one Attention object; the decoder knows
// nothing of prompts, rows and caches.
//
// PackedAttention: whole prompts and, optionally, the completions that continue them, each prompt
// computed once and read by all its completions (prefill, log-probabilities, training). What
// the steps of a rollout attend by is in decode_attention.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <vector>

#include "model/flash_attention.h"
#include "model/packed_layout.h"
#include "model/rollout_cache.h"
#include "model/segment_attention.h"
#include "model_spec.h"

namespace grpo {

class Attention {
  public:
    virtual ~Attention() = default;
    /// q [N, H, D], k and v [N, K, D] with rope applied -> [N, H·D]
    virtual at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v) = 0;
};

/// Maps between flat rows [N, ...] and padded rows [rows · width, ...]. Both directions, and both
/// their backwards, are plain gathers, because the map is one to one: exact, deterministic, and no
/// scatter on any device.
class Padding {
  public:
    Padding() = default;
    Padding(const std::vector<int64_t>& lengths, at::Device device);
    /// [N, heads, D] -> [rows, heads, width, D]; padding reads as zero.
    at::Tensor pad(const at::Tensor& flat) const;
    /// [rows, heads, width, D] -> [N, heads · D]
    at::Tensor unpad(const at::Tensor& padded) const;
    int64_t rows() const { return rows_; }
    int64_t width() const { return width_; }

  private:
    int64_t rows_ = 0;
    int64_t width_ = 0;
    bool dense_ = true;     // all lengths equal: the map is a reshape
    at::Tensor to_padded_;  // [rows · width] flat index, N for padding
    at::Tensor to_flat_;    // [N] padded index
};

class PackedAttention : public Attention {
  public:
    /// `storage`: what a CPU multiplies.
    PackedAttention(const ModelConfig& config, PackedLayout layout, at::ScalarType dtype,
                    at::Device device, cpu::Storage storage);
    /// Also store the keys and values of the prompts in a cache, whose slots the parts name.
    void store_prompts(RolloutCache* cache, std::vector<PromptPart> prompts);
    at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v) override;

  private:
    /// Whether segment_attention() computes it.
    bool in_segments() const;
    at::Tensor attend_padded(int64_t window, const at::Tensor& q, const at::Tensor& k,
                             const at::Tensor& v);
    at::Tensor attend_prompts(int64_t window, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v);
    at::Tensor attend_completions(int64_t window, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const at::Tensor& prompt_k,
                                  const at::Tensor& prompt_v);
    const at::Tensor& prompt_mask(int64_t window);
    const at::Tensor& completion_mask(int64_t window);
    at::Tensor product(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const at::Tensor& mask) const;

    const ModelConfig& config_;
    PackedLayout layout_;
    at::ScalarType dtype_;
    at::Device device_;
    cpu::Storage storage_;
    int64_t prompt_tokens_ = 0;
    int64_t completion_tokens_ = 0;
    std::shared_ptr<const Segments> segments_;    // on a CPU
    std::shared_ptr<const FlashSegments> flash_;  // on an accelerator, where it has the kernels
    Padding prompts_;
    Padding completions_;
    at::Tensor prompt_of_;                           // [B] int64
    std::map<int64_t, at::Tensor> prompt_mask_;      // window -> [W, W] additive
    std::map<int64_t, at::Tensor> completion_mask_;  // window -> [B, 1, L, W + L] additive
    RolloutCache* cache_ = nullptr;
    std::vector<PromptPart> stored_;
};

/// Repeat each of K heads H / K times: [B, K, T, D] -> [B, H, T, D].
at::Tensor repeat_kv(const at::Tensor& x, int64_t num_heads);

/// Zero where `visible`, -inf elsewhere.
at::Tensor additive_mask(const at::Tensor& visible, at::ScalarType dtype);

/// Gemma 2's cap · tanh(scores / cap); a cap of 0 is none.
at::Tensor softcap(const at::Tensor& scores, double cap);

}  // namespace grpo

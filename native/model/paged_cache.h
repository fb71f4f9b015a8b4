// The cache of a rollout in pages, for the kernels that accelerators have for attention: a row is a
// list of pages, of which the first are those of its prompt and belong to all its completions. A
// page that a prompt does not fill is copied for each of them. There is no room for what nobody
// has computed, but for the rest of the last page.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "engine_limits.h"
#include "model/step_cache.h"
#include "model_spec.h"

namespace grpo {

class PagedCache : public StepCache {
  public:
    /// Keys of a page.
    static constexpr int64_t kPage = kLimits.page_tokens;
    static int64_t pages_for(int64_t keys);

    /// Room for so many pages, which grows as needed. Fixed shapes have up to `rows` rows of up to
    /// `longest` keys. `options`: dtype and device.
    PagedCache(const ModelConfig& config, int64_t pages, int64_t rows, int64_t longest,
               const at::TensorOptions& options);

    int64_t open_prompt(std::span<const int32_t> ids) override;
    void store(int64_t layer, const std::vector<PromptPart>& parts, const at::Tensor& k,
               const at::Tensor& v) override;
    void complete_prompt(int64_t /*slot*/, std::span<const int32_t> /*ids*/) override {}
    void close_prompt(int64_t slot) override;
    void open_row(int64_t slot) override;
    void close_row(int64_t row, std::span<const int32_t> ids) override;

    DecodeShape shape_of(const DecodeRows& rows) const override;
    DecodeShape fixed_shape_of(const DecodeRows& rows) const override;
    std::unique_ptr<StepInputs> inputs(const DecodeShape& shape) override;
    std::shared_ptr<Attention> step_attention(const StepInputs& inputs) override;

    /// Pages for `keys` keys of a row. Makes copies that were put off, too.
    const std::vector<int32_t>& reserve(int64_t row, int64_t keys);
    const ModelConfig& config() const { return config_; }
    /// [pages, kPage, K, D]
    const at::Tensor& keys(int64_t layer) const { return keys_[layer]; }
    const at::Tensor& values(int64_t layer) const { return values_[layer]; }
    /// k and v [n, K, D] into places [n] of all pages.
    void put(int64_t layer, const at::Tensor& places, const at::Tensor& k, const at::Tensor& v);

  private:
    using Pages = std::vector<int32_t>;
    struct Prompt {
        Pages pages;
        int64_t length = 0;
    };

    int32_t take();
    void release(const Pages& pages);
    void grow();
    void copy_pages();

    const ModelConfig& config_;
    int64_t most_rows_, longest_;
    std::vector<at::Tensor> keys_, values_;  // of each layer [pages, kPage, K, D]
    std::vector<int32_t> owners_;            // of each page; the first belongs to nobody's rows
    Pages free_;
    std::vector<Prompt> prompts_;    // by slot
    std::vector<Pages> rows_;        // by row
    Pages copies_from_, copies_to_;  // that are put off until all rows of a wave are open
    at::Tensor places_;              // [N] of the tokens of the pass that stores
};

}  // namespace grpo

#include "model/paged_cache.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>

#include "device.h"

namespace grpo {
namespace {

constexpr int64_t kSmallestRows = 8;  // of fixed shapes
constexpr int64_t kSmallestPages = 2;

int64_t place_in(const std::vector<int32_t>& pages, int64_t position) {
    return pages[position / PagedCache::kPage] * PagedCache::kPage + position % PagedCache::kPage;
}

class PagedInputs : public StepInputs {
  public:
    PagedInputs(const DecodeShape& shape, PagedCache& cache, at::Device device)
        : rows_(shape.rows), pages_(shape.pages), cache_(cache) {
        const int64_t narrow = 2 * (rows_ + 1) + rows_ * pages_;  // numbers of int32
        packed_ = at::empty({4 * rows_ + (narrow + 1) / 2},
                            at::TensorOptions().dtype(at::kLong).device(device));
        // In the order of write().
        ids = packed_.narrow(0, 0, rows_);
        positions = packed_.narrow(0, rows_, rows_);
        places = packed_.narrow(0, 2 * rows_, rows_);
        uniforms = packed_.narrow(0, 3 * rows_, rows_).view(at::kDouble);
        const at::Tensor rest = packed_.narrow(0, 4 * rows_, (narrow + 1) / 2).view(at::kInt);
        query_starts = rest.narrow(0, 0, rows_ + 1);
        key_starts = rest.narrow(0, rows_ + 1, rows_ + 1);
        table = rest.narrow(0, 2 * (rows_ + 1), rows_ * pages_).view({rows_, pages_});
    }

    void write(const DecodeRows& rows, const std::vector<double>& draws) override {
        std::vector<int64_t> host(packed_.numel(), 0);
        int64_t *id = host.data(), *position = id + rows_, *place = position + rows_;
        auto* starts = reinterpret_cast<int32_t*>(host.data() + 4 * rows_);
        int32_t *ends = starts + rows_ + 1, *pages = ends + rows_ + 1;
        const auto live = static_cast<int64_t>(rows.ids.size());
        std::memcpy(host.data() + 3 * rows_, draws.data(), draws.size() * sizeof(double));
        for (int64_t i = 0; i < rows_; ++i) {
            starts[i + 1] = static_cast<int32_t>(i + 1);
            ends[i + 1] = ends[i] + 1;  // beyond the rows: one key, of the page that is nobody's
            if (i >= live) continue;
            id[i] = rows.ids[i];
            position[i] = rows.position(i);
            const auto& own = cache_.reserve(i, position[i] + 1);
            place[i] = place_in(own, position[i]);
            ends[i + 1] = ends[i] + static_cast<int32_t>(position[i] + 1);
            std::copy(own.begin(), own.end(), pages + i * pages_);
        }
        packed_.copy_(staged_for(packed_.device(), host), /*non_blocking=*/true);
    }

    at::Tensor places;                    // [n] int64, of the new tokens
    at::Tensor query_starts, key_starts;  // [n + 1] int32
    at::Tensor table;                     // [n, Bm] int32
    int64_t longest() const { return pages_ * PagedCache::kPage; }

  private:
    int64_t rows_, pages_;
    PagedCache& cache_;
    at::Tensor packed_;  // all of the above
};

class PagedAttention : public Attention {
  public:
    PagedAttention(PagedCache& cache, const PagedInputs& inputs) : cache_(cache), inputs_(inputs) {}

    at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v) override {
        cache_.put(layer, inputs_.places, k, v);
        const ModelConfig& config = cache_.config();
        const int64_t window = config.layers[layer].window;
        std::optional<int64_t> left, right;
        if (window != 0) {
            left = window - 1;
            right = 0;
        }
        const at::Tensor out = std::get<0>(at::_flash_attention_forward(
            q, cache_.keys(layer), cache_.values(layer), inputs_.query_starts, inputs_.key_starts,
            /*max_q=*/1, inputs_.longest(), /*dropout_p=*/0, /*is_causal=*/true,
            /*return_debug_mask=*/false, config.attention_scale, left, right, std::nullopt,
            std::nullopt, inputs_.table));
        return out.view({q.size(0), -1});
    }

  private:
    PagedCache& cache_;
    const PagedInputs& inputs_;
};

}  // namespace

int64_t PagedCache::pages_for(int64_t keys) { return (keys + kPage - 1) / kPage; }

PagedCache::PagedCache(const ModelConfig& config, int64_t pages, int64_t rows, int64_t longest,
                       const at::TensorOptions& options)
    : config_(config), most_rows_(rows), longest_(longest), owners_(pages + 1, 0) {
    const std::vector<int64_t> sizes{pages + 1, kPage, config.num_kv_heads, config.head_dim};
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
        keys_.push_back(at::zeros(sizes, options));
        values_.push_back(at::zeros(sizes, options));
    }
    owners_[0] = 1;
    for (auto page = static_cast<int32_t>(pages); page > 0; --page) free_.push_back(page);
}

int32_t PagedCache::take() {
    if (free_.empty()) grow();
    const int32_t page = free_.back();
    free_.pop_back();
    owners_[page] = 1;
    return page;
}

void PagedCache::release(const Pages& pages) {
    for (const int32_t page : pages) {
        if (--owners_[page] == 0) free_.push_back(page);
    }
}

void PagedCache::grow() {
    const auto before = static_cast<int64_t>(owners_.size()), more = before / 2 + 1;
    // Layer by layer, so that never more than one is there twice.
    for (auto* layers : {&keys_, &values_}) {
        for (at::Tensor& layer : *layers) {
            std::vector<int64_t> sizes = layer.sizes().vec();
            sizes[0] += more;
            at::Tensor grown = at::zeros(sizes, layer.options());
            grown.narrow(0, 0, before).copy_(layer);
            layer = grown;
        }
    }
    owners_.resize(before + more, 0);
    for (int64_t page = before + more - 1; page >= before; --page)
        free_.push_back(static_cast<int32_t>(page));
}

int64_t PagedCache::open_prompt(std::span<const int32_t> ids) {
    copy_pages();
    Prompt prompt{.pages = {}, .length = static_cast<int64_t>(ids.size())};
    for (int64_t page = 0; page < pages_for(prompt.length); ++page) prompt.pages.push_back(take());
    prompts_.push_back(std::move(prompt));
    return 0;
}

void PagedCache::store(int64_t layer, const std::vector<PromptPart>& parts, const at::Tensor& k,
                       const at::Tensor& v) {
    if (layer == 0) {
        std::vector<int64_t> places;
        for (const PromptPart& part : parts) {
            for (int64_t t = part.start; t < part.start + part.count; ++t)
                places.push_back(place_in(prompts_[part.slot].pages, t));
        }
        places_ = to_device(places, k.device());
    }
    put(layer, places_, k, v);
}

void PagedCache::put(int64_t layer, const at::Tensor& places, const at::Tensor& k,
                     const at::Tensor& v) {
    keys_[layer].flatten(0, 1).index_copy_(0, places, k);
    values_[layer].flatten(0, 1).index_copy_(0, places, v);
}

void PagedCache::close_prompt(int64_t slot) {
    copy_pages();
    release(prompts_[slot].pages);
    prompts_[slot] = std::move(prompts_.back());
    prompts_.pop_back();
}

void PagedCache::open_row(int64_t slot) {
    const Prompt& prompt = prompts_[slot];
    Pages pages = prompt.pages;
    const bool copies = prompt.length % kPage != 0;
    if (copies) pages.pop_back();
    for (const int32_t page : pages) ++owners_[page];
    if (copies) {
        pages.push_back(take());
        copies_from_.push_back(prompt.pages.back());
        copies_to_.push_back(pages.back());
    }
    rows_.push_back(std::move(pages));
}

void PagedCache::close_row(int64_t row, std::span<const int32_t> /*ids*/) {
    copy_pages();
    release(rows_[row]);
    rows_[row] = std::move(rows_.back());
    rows_.pop_back();
}

void PagedCache::copy_pages() {
    if (copies_from_.empty()) return;
    const auto index = [&](const Pages& pages) {
        return to_device(std::vector<int64_t>(pages.begin(), pages.end()), keys_[0].device());
    };
    const at::Tensor from = index(copies_from_), to = index(copies_to_);
    for (const auto* layers : {&keys_, &values_}) {
        for (const at::Tensor& layer : *layers)
            at::Tensor(layer).index_copy_(0, to, at::index(layer, {from}));
    }
    copies_from_.clear();
    copies_to_.clear();
}

const std::vector<int32_t>& PagedCache::reserve(int64_t row, int64_t keys) {
    copy_pages();
    Pages& pages = rows_[row];
    while (static_cast<int64_t>(pages.size()) < pages_for(keys)) pages.push_back(take());
    return pages;
}

DecodeShape PagedCache::shape_of(const DecodeRows& rows) const {
    int64_t longest = 1;
    const auto count = static_cast<int64_t>(rows.ids.size());
    for (int64_t row = 0; row < count; ++row) longest = std::max(longest, rows.position(row) + 1);
    return {.rows = count, .pages = pages_for(longest)};
}

DecodeShape PagedCache::fixed_shape_of(const DecodeRows& rows) const {
    const DecodeShape exact = shape_of(rows);
    return {.rows = bucket(exact.rows, kSmallestRows, most_rows_),
            .pages = bucket(exact.pages, kSmallestPages, pages_for(longest_))};
}

std::unique_ptr<StepInputs> PagedCache::inputs(const DecodeShape& shape) {
    return std::make_unique<PagedInputs>(shape, *this, keys_[0].device());
}

std::shared_ptr<Attention> PagedCache::step_attention(const StepInputs& inputs) {
    return std::make_shared<PagedAttention>(*this, static_cast<const PagedInputs&>(inputs));
}

}  // namespace grpo

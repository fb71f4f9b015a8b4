#include "module_table.h"

namespace grpo {
namespace {

template <typename Table, typename F>
void each_norm(Table& table, const F& visit) {
    const auto visit_existing = [&](auto& norm) {
        if (norm) visit(*norm);
    };
    for (auto& [attention, feed_forward] : table.layers) {
        visit_existing(attention.before);
        visit_existing(attention.after);
        visit_existing(feed_forward.before);
        visit_existing(feed_forward.after);
        visit_existing(attention.q_norm);
        visit_existing(attention.k_norm);
    }
    visit(table.norm);
}

template <typename Table, typename F>
void each_linear(Table& table, const F& visit) {
    for (auto& [attention, feed_forward] : table.layers) {
        visit(attention.qkv);
        visit(attention.output);
        visit(feed_forward.gate_up);
        visit(feed_forward.down);
    }
    visit(table.output);
}

}  // namespace

int64_t LinearModule::out() const { return start(parts.size()); }

int64_t LinearModule::start(size_t part) const {
    int64_t rows = 0;
    for (size_t i = 0; i < part; ++i) rows += parts[i].out;
    return rows;
}

void ModuleTable::number() {
    int64_t norms = 0, linears = 0;
    each_norm(*this, [&](NormModule& norm) { norm.index = norms++; });
    each_linear(*this, [&](LinearModule& linear) { linear.index = linears++; });
}

std::vector<const NormModule*> ModuleTable::norms() const {
    std::vector<const NormModule*> norms;
    each_norm(*this, [&](const NormModule& norm) { norms.push_back(&norm); });
    return norms;
}

std::vector<const LinearModule*> ModuleTable::linears() const {
    std::vector<const LinearModule*> linears;
    each_linear(*this, [&](const LinearModule& linear) { linears.push_back(&linear); });
    return linears;
}

}  // namespace grpo

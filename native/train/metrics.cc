#include "train/metrics.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace grpo {
namespace {

enum Column {
    kLoss,
    kPolicy,
    kEntropy,
    kActive,
    kActiveEntropy,
    kKl,
    kClipLow,
    kClipHigh,
    kPhi,
    kDifference,
    kColumns
};

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Mean of the values that are numbers.
class Mean {
  public:
    void add(double value) {
        if (std::isnan(value)) return;
        sum_ += value;
        ++count_;
    }
    double value(double without_any) const {
        return count_ > 0 ? sum_ / static_cast<double>(count_) : without_any;
    }

  private:
    double sum_ = 0;
    int64_t count_ = 0;
};

double share(double sum, double count) { return count > 0 ? sum / count : 0; }

/// One slice of completions.
struct Slice {
    const double* sums;       // [rows, kColumns]
    const int64_t* counted;   // [rows]
    const int64_t* scored;    // [rows]
    const float* advantages;  // [rows]
    int64_t rows;
    const LossOptions& options;

    double total(int column) const {
        double sum = 0;
        for (int64_t row = 0; row < rows; ++row) sum += sums[row * kColumns + column];
        return sum;
    }
    static double total_of(const int64_t* lengths, int64_t rows) {
        double sum = 0;
        for (int64_t row = 0; row < rows; ++row) sum += static_cast<double>(lengths[row]);
        return sum;
    }
    bool idle(int64_t row) const { return scored[row] < counted[row]; }
    double mean_in_row(int64_t row, int column) const {
        return sums[row * kColumns + column] / static_cast<double>(counted[row]);
    }
    /// Over the tokens that were computed; NaN where there are tokens and none was.
    double token_mean(int column) const {
        const double tokens = total_of(scored, rows);
        return tokens == 0 && total_of(counted, rows) > 0 ? kNan : share(total(column), tokens);
    }
    /// Clipped share of one completion.
    double clip_share_of(int64_t row, int column) const {
        if (counted[row] > 0) return mean_in_row(row, column);
        const EmptyClip clip = clip_without_tokens(advantages[row], options);
        return column == kClipLow ? clip.low : clip.high;
    }
    /// Clipped share of all tokens, or of all completions where each has one ratio.
    double clip_share(int column) const {
        if (!options.sequence_level()) return share(total(column), total_of(counted, rows));
        double sum = 0;
        for (int64_t row = 0; row < rows; ++row) sum += clip_share_of(row, column);
        return share(sum, static_cast<double>(rows));
    }
    /// Smallest and largest share of one completion. One without tokens has none, or its own ratio.
    std::pair<double, double> clip_range(int column) const {
        double least = kNan, most = kNan;
        for (int64_t row = 0; row < rows; ++row) {
            if (counted[row] == 0 && !options.sequence_level()) continue;
            const double value = clip_share_of(row, column);
            least = std::isnan(least) ? value : std::min(least, value);
            most = std::isnan(most) ? value : std::max(most, value);
        }
        return {least, most};
    }
    /// φ of a completion without tokens is 1.
    double phi_mean() const {
        Mean mean;
        for (int64_t row = 0; row < rows; ++row) {
            if (!idle(row)) mean.add(counted[row] == 0 ? 1 : mean_in_row(row, kPhi));
        }
        return mean.value(kNan);
    }
};

}  // namespace

MetricSums::MetricSums(BatchShape shape, std::vector<float> advantages, const LossOptions& options,
                       at::Device device)
    : shape_(std::move(shape)), advantages_(std::move(advantages)), options_(options) {
    std::vector<int64_t> rows;
    for (int64_t row = 0; row < shape_.rows(); ++row) {
        rows.insert(rows.end(), shape_.scored[row], row);
    }
    row_ = to_device(rows, device);
    const auto options_fp32 = at::TensorOptions().dtype(at::kFloat).device(device);
    sums_ = at::zeros({shape_.rows(), kColumns}, options_fp32);
    largest_ = at::zeros({1}, options_fp32);
}

void MetricSums::add(int64_t from, const LossTokens& tokens, const TokenLoss& loss) {
    const c10::NoGradGuard no_grad;
    const at::Tensor zeros = at::zeros_like(loss.policy);
    const at::Tensor active = tokens.batch.entropy_mask.defined() ? tokens.batch.entropy_mask
                                                                  : at::ones_like(loss.policy);
    const at::Tensor entropy = tokens.entropy.detach();
    std::vector<at::Tensor> columns(kColumns);
    columns[kLoss] = loss.loss.detach();
    columns[kPolicy] = loss.policy;
    columns[kEntropy] = entropy;
    columns[kActive] = active;
    columns[kActiveEntropy] = entropy * active;
    columns[kKl] = loss.kl.defined() ? loss.kl : zeros;
    columns[kClipLow] = loss.clip_low;
    columns[kClipHigh] = loss.clip_high;
    columns[kPhi] = loss.phi.defined() ? loss.phi : zeros;
    columns[kDifference] = loss.difference;
    for (at::Tensor& column : columns) column = column.to(at::kFloat);
    const at::Tensor rows = row_.narrow(0, from, loss.policy.size(0));
    sums_.index_add_(0, rows, at::stack(columns, 1));
    largest_ = at::maximum(largest_, columns[kDifference].amax(0, /*keepdim=*/true));
}

LossResult MetricSums::result(ReadBack& read_back) const {
    const std::vector<double> values =
        read_back.operator()<double>(at::cat({sums_.view({-1}), largest_}));
    Mean policy, entropy, kl, low, high, region, low_min, high_max, phi, difference;
    LossResult result;
    double active_entropy = 0, active = 0;
    const int64_t count = shape_.rows();
    for (const RowRange rows : shape_.slices) {
        const Slice slice{.sums = values.data() + rows.begin * kColumns,
                          .counted = shape_.counted.data() + rows.begin,
                          .scored = shape_.scored.data() + rows.begin,
                          .advantages = advantages_.data() + rows.begin,
                          .rows = rows.end - rows.begin,
                          .options = options_};
        const double clip_low = slice.clip_share(kClipLow);
        const double clip_high = slice.clip_share(kClipHigh);
        result.loss += slice.total(kLoss);
        policy.add(slice.total(kPolicy));
        entropy.add(slice.token_mean(kEntropy));
        kl.add(slice.token_mean(kKl));
        low.add(clip_low);
        high.add(clip_high);
        region.add(clip_low + clip_high);
        low_min.add(slice.clip_range(kClipLow).first);
        high_max.add(slice.clip_range(kClipHigh).second);
        phi.add(slice.phi_mean());
        difference.add(slice.token_mean(kDifference));
        active_entropy += slice.total(kActiveEntropy);
        active += slice.total(kActive);
    }
    // TRL reports a slice's loss before it is divided by the slices of the step.
    const bool scaled = !divides_by_step_tokens(options_.loss_type);
    result.policy_loss = policy.value(0) * (scaled ? accumulation_steps(shape_, options_) : 1);
    result.entropy = entropy.value(count > 0 ? kNan : 0);
    result.kl = kl.value(count > 0 ? kNan : 0);
    result.clip_low = low.value(0);
    result.clip_high = high.value(0);
    result.clip_region = region.value(0);
    result.clip_low_min = low_min.value(kNan);
    result.clip_high_max = high_max.value(kNan);
    result.phi = phi.value(kNan);
    result.logp_difference_mean = difference.value(count > 0 ? kNan : 0);
    result.logp_difference_max = values.back();
    result.active_entropy = share(active_entropy, active);
    result.active_tokens = static_cast<int64_t>(active);
    result.tokens = shape_.tokens({0, count});
    for (int64_t row = 0; row < count; ++row)
        result.idle_rows += shape_.scored[row] < shape_.counted[row];
    return result;
}

}  // namespace grpo

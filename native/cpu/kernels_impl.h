// The source of every set of kernels; included once by each kernels_<instruction set>.cc, which
// says how many floats a vector has and how many columns of a tile fit the registers.
#include "cpu/products_impl.h"

namespace grpo::cpu {
namespace {

/// y[i] = f(x[i], z[i]) by whole vectors, the rest in a vector of its own.
template <typename F>
void map(const float* x, const float* z, int64_t size, float* y, F f) {
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) store(y + i, f(load(x + i), load(z + i)));
    if (i == size) return;
    float left[kLanes] = {}, right[kLanes] = {}, result[kLanes];
    std::memcpy(left, x + i, (size - i) * sizeof(float));
    std::memcpy(right, z + i, (size - i) * sizeof(float));
    store(result, f(load(left), load(right)));
    std::memcpy(y + i, result, (size - i) * sizeof(float));
}

void rms_norm(const float* x, const float* weight, float eps, int64_t size, float* out) {
    Vec squares = {};
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) squares += load(x + i) * load(x + i);
    float total = sum_of(squares);
    for (; i < size; ++i) total += x[i] * x[i];
    const float factor = 1.0F / __builtin_sqrtf(total / static_cast<float>(size) + eps);
    map(x, weight, size, out, [factor](Vec a, Vec w) { return a * factor * w; });
}

void rope(float* x, int64_t heads, int64_t head_dim, const float* cos, const float* sin,
          int64_t rotary) {
    const int64_t half = rotary / 2;
    for (int64_t head = 0; head < heads; ++head, x += head_dim) {
        int64_t i = 0;
        for (; i + kLanes <= half; i += kLanes) {
            const Vec a = load(x + i), b = load(x + half + i);
            store(x + i, a * load(cos + i) - b * load(sin + i));
            store(x + half + i, b * load(cos + half + i) + a * load(sin + half + i));
        }
        for (; i < half; ++i) {
            const float a = x[i], b = x[half + i];
            x[i] = a * cos[i] - b * sin[i];
            x[half + i] = b * cos[half + i] + a * sin[half + i];
        }
    }
}

void gated(const float* gate, const float* up, int64_t size, bool gelu, float* out) {
    if (!gelu) {
        return map(gate, up, size, out, [](Vec g, Vec u) { return g / (1.0F + exp_of(-g)) * u; });
    }
    map(gate, up, size, out, [](Vec g, Vec u) {
        const Vec inner = 0.7978845608028654F * (g + 0.044715F * g * g * g);
        return 0.5F * g * (1.0F + tanh_of(inner)) * u;
    });
}

void add(const float* x, int64_t size, float* y) {
    map(x, y, size, y, [](Vec a, Vec b) { return a + b; });
}

void softcap(float* x, int64_t size, float cap) {
    map(x, x, size, x, [cap](Vec a, Vec) { return cap * tanh_of(a / cap); });
}

float max(const float* x, int64_t size) {
    float best = x[0];
    int64_t i = 0;
    if (size >= kLanes) {
        Vec most = load(x);
        for (; i + kLanes <= size; i += kLanes) most = larger(load(x + i), most);
        best = max_of(most);
    }
    for (; i < size; ++i) best = x[i] > best ? x[i] : best;
    return best;
}

double exp_sum(const float* x, int64_t size, float max, float scale, float* terms) {
    double total = 0;
    Vec sums = {};
    int64_t i = 0, vectors = 0;
    for (; i + kLanes <= size; i += kLanes) {
        const Vec term = exp_of((load(x + i) - max) * scale);
        if (terms != nullptr) store(terms + i, term);
        sums += term;
        // fp32 for short runs only: the tail of a large vocabulary must not be lost.
        if (++vectors % 16 == 0) {
            total += sum_of(sums);
            sums = Vec{};
        }
    }
    total += sum_of(sums);
    if (i < size) {
        float rest[kLanes], last[kLanes];
        for (int64_t j = 0; j < kLanes; ++j) rest[j] = i + j < size ? x[i + j] : max;
        store(last, exp_of((load(rest) - max) * scale));
        for (int64_t j = 0; i + j < size; ++j) {
            total += last[j];
            if (terms != nullptr) terms[i + j] = last[j];
        }
    }
    return total;
}

double keep(const float* scores, float least, int64_t size, float* terms) {
    double total = 0;
    Vec sums = {};
    int64_t i = 0, vectors = 0;
    for (; i + kLanes <= size; i += kLanes) {
        const Ints seen = load(scores + i) >= fill(least);
        const Vec term = (Vec)((Ints)load(terms + i) & seen);
        store(terms + i, term);
        sums += term;
        if (++vectors % 16 == 0) {
            total += sum_of(sums);
            sums = Vec{};
        }
    }
    total += sum_of(sums);
    for (; i < size; ++i) {
        if (scores[i] < least) terms[i] = 0;
        total += terms[i];
    }
    return total;
}

void store_as(Storage storage, const float* x, int64_t size, void* out) {
    if (storage == Storage::kFloat) {
        std::memcpy(out, x, size * sizeof(float));
        return;
    }
    auto* halves = static_cast<uint16_t*>(out);
    for (int64_t i = 0; i < size; ++i) halves[i] = narrow(x[i]);
}

/// Scores [count] of one query -> probabilities; those before `first` are not seen.
void soften(float* scores, int64_t first, int64_t count) {
    std::memset(scores, 0, first * sizeof(float));
    scores += first;
    count -= first;
    const double total = exp_sum(scores, count, max(scores, count), 1.0F, scores);
    const float factor = static_cast<float>(1.0 / total);
    map(scores, scores, count, scores, [factor](Vec s, Vec) { return s * factor; });
}

/// Scores of the queries of row i over its prompt and its own tokens -> probabilities.
template <typename P>
void own_scores(const HeadAttention& a, int64_t i, const float* q, typename P::X* packed,
                float* scores) {
    const HeadAttention::Row& row = a.rows[i];
    pack_rows<P>(q, a.repeats, a.head_dim, packed);
    products<P>(packed, a.repeats, row.own_k, a.head_dim, scores + a.prompt, a.stride, 0, row.own);
    const int64_t count = a.prompt + row.own;
    for (int64_t r = 0; r < a.repeats; ++r, scores += a.stride) {
        if (a.softcap != 0) softcap(scores, count, a.softcap);
        soften(scores, row.first, count);
    }
}

/// The prompt's keys and values are read once for the queries of all rows.
template <typename P>
void attend_with(const HeadAttention& a) {
    using T = typename P::Weight;
    const int64_t queries = a.num_rows * a.repeats, dim = a.head_dim, size = a.repeats * dim;
    auto* packed = static_cast<typename P::X*>(a.packed);
    auto* own_packed =
        reinterpret_cast<typename P::X*>(static_cast<char*>(a.packed) + packed_bytes(queries, dim));
    const float scale = a.scale;
    for (int64_t i = 0; i < a.num_rows; ++i) {
        const float* q = a.rows[i].q;
        map(q, q, size, a.mixed + i * size, [scale](Vec x, Vec) { return x * scale; });
    }
    pack_rows<P>(a.mixed, queries, dim, packed);
    products<P>(packed, queries, a.prompt_k, dim, a.scores, a.stride, 0, a.prompt);
    for (int64_t i = 0; i < a.num_rows; ++i)
        own_scores<P>(a, i, a.mixed + i * size, own_packed, a.scores + i * a.repeats * a.stride);

    std::memset(a.mixed, 0, a.num_rows * size * sizeof(float));
    weighted_sums(a.scores, a.stride, queries, static_cast<const T*>(a.prompt_v), a.prompt, dim,
                  a.mixed, dim);
    for (int64_t i = 0; i < a.num_rows; ++i) {
        const HeadAttention::Row& row = a.rows[i];
        float* mixed = a.mixed + i * size;
        weighted_sums(a.scores + i * a.repeats * a.stride + a.prompt, a.stride, a.repeats,
                      static_cast<const T*>(row.own_v), row.own, dim, mixed, dim);
        std::memcpy(row.out, mixed, size * sizeof(float));
    }
}

void attend(const HeadAttention& call) {
    if (call.storage == Storage::kFloat) return attend_with<FloatDot>(call);
    attend_with<HalfDot>(call);
}

}  // namespace

extern const Kernels GRPO_KERNELS;
const Kernels GRPO_KERNELS = {
    .packed_bytes = packed_bytes,
    .pack = pack,
    .dot_products = dot_products,
    .add_weighted_sums = weighted_sums<float>,
    .attend = attend,
    .rms_norm = rms_norm,
    .rope = rope,
    .gated = gated,
    .add = add,
    .softcap = softcap,
    .max = max,
    .exp_sum = exp_sum,
    .keep = keep,
    .store = store_as,
};

}  // namespace grpo::cpu

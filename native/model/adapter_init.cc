// How an adapter's tensors begin, by PEFT's definitions (tuners/lora/layer.py). Random elements are
// functions of (seed, name of the tensor, index).
#include <ATen/Functions.h>

#include <cmath>

#include "device.h"
#include "error.h"
#include "model/adapter.h"
#include "model/base_model.h"
#include "model/random_fill.h"

namespace grpo {
namespace {

struct Pair {
    at::Tensor a, b;  // [R, in], [out, R] fp32
};

/// M = U S Vᵀ, its `rank` largest triples.
struct Triples {
    at::Tensor u, s, v;  // [m, R], [R], [R, n]
};

Triples leading_triples(const at::Tensor& m, int64_t rank) {
    const auto [u, s, v] = at::linalg_svd(m, /*full_matrices=*/false);
    return {u.narrow(1, 0, rank), s.narrow(0, 0, rank), v.narrow(0, 0, rank)};
}

at::Tensor orthonormal(const at::Tensor& m) { return std::get<0>(at::linalg_qr(m)); }

/// Halko et al. 2011, algorithms 4.4 and 5.1.
Triples randomized_triples(const at::Tensor& m, int64_t rank, int64_t iterations,
                           const at::Tensor& draws) {
    at::Tensor basis = orthonormal(at::matmul(m, draws));  // [m, R]
    for (int64_t i = 0; i < iterations; ++i) {
        basis = orthonormal(at::matmul(m, orthonormal(at::matmul(m.t(), basis))));
    }
    const Triples inner = leading_triples(at::matmul(basis.t(), m), rank);
    return {at::matmul(basis, inner.u), inner.s, inner.v};
}

/// B A = the leading part of W / s, split evenly between the two (Meng et al. 2024).
Pair pissa(const Triples& triples, double scaling) {
    const at::Tensor root = (triples.s / scaling).sqrt();
    return {.a = root.unsqueeze(1) * triples.v, .b = triples.u * root};
}

/// The leading columns and rows of W = Q R (Büyükakyüz 2024).
Pair olora(const at::Tensor& weight, int64_t rank) {
    const auto [q, r] = at::linalg_qr(weight);
    return {.a = r.narrow(0, 0, rank), .b = q.narrow(1, 0, rank)};
}

/// A and B on orthogonal halves of a random basis of the rank's space.
Pair orthogonal(int64_t in, int64_t out, int64_t rank, const std::string& module, uint64_t seed) {
    require(rank % 2 == 0, "the rank of " + module + " must be even for orthogonal initialisation");
    const auto normal = [&](const char* what, int64_t rows, int64_t columns) {
        const at::Tensor draws = at::empty({rows, columns}, at::kFloat);
        fill_normal(draws, module + what, seed, 1);
        return draws;
    };
    const at::Tensor halves =
        orthonormal(normal(".orthogonal", rank, rank)).view({rank / 2, 2, rank});
    const at::Tensor odd = halves.select(1, 0), even = halves.select(1, 1);  // [R / 2, R]
    return {.a = at::matmul(odd.t(), normal(".orthogonal_A", rank / 2, in)) / 10,
            .b = at::matmul(normal(".orthogonal_B", out, rank / 2), even) / 10};
}

double inverse_root(int64_t n) { return 1 / std::sqrt(static_cast<double>(n)); }

}  // namespace

void Adapter::initialise_pair(Lora& lora, const std::string& module, const Weight& weight) {
    const at::Tensor a = lora.a.detach(), b = lora.b.detach();
    const int64_t rank = a.size(0), in = a.size(1), out = b.size(0);
    const std::string name_a = module + ".lora_A.weight", name_b = module + ".lora_B.weight";
    const auto set = [&](const Pair& pair) {
        a.copy_(pair.a);
        b.copy_(pair.b);
    };
    const auto take_from_base = [&](const Pair& pair) {
        set(pair);
        lora.initial_a = a.clone();
        lora.initial_b = b.clone();
    };
    const auto wide = [&] {
        require(rank <= std::min(in, out), "the rank of " + module + " exceeds the layer's sizes");
        return weight.dense().to(a.scalar_type());
    };
    switch (spec_.init) {
        case LoraInit::kDefault:  // Kaiming uniform with a = sqrt(5), that is U(±1 / sqrt(in))
            return fill_uniform(a, name_a, spec_.seed, inverse_root(in));
        case LoraInit::kRandom:
            fill_uniform(a, name_a, spec_.seed, inverse_root(in));
            return fill_uniform(b, name_b, spec_.seed, inverse_root(rank));
        case LoraInit::kGaussian:
            return fill_normal(a, name_a, spec_.seed, 1 / static_cast<double>(rank));
        case LoraInit::kOrthogonal:
            return set(orthogonal(in, out, rank, module, spec_.seed));
        case LoraInit::kOlora:
            return take_from_base(olora(wide(), rank));
        case LoraInit::kPissa:
            break;
    }
    if (spec_.init_iterations == 0) {
        return take_from_base(pissa(leading_triples(wide(), rank), lora.scaling));
    }
    const at::Tensor draws = at::empty({in, rank}, a.options());
    fill_normal(draws, module + ".pissa", spec_.seed, 1);
    take_from_base(
        pissa(randomized_triples(wide(), rank, spec_.init_iterations, draws), lora.scaling));
}

void Adapter::initialise(const BaseModel& base) {
    const auto begin_at = [&](const std::string& name, const auto& read) {
        if (parameters.find(name).defined()) parameters.write(name, read());
    };
    for (const NamedTensor& tensor : base.named_tensors()) begin_at(tensor.name, tensor.read);
    const LinearModule& output = base.modules().output;
    if (base.tied())
        begin_at(weight_name(output.parts[0].name), [&] { return base.embedding->dense(); });
    const auto take_rows_of = [](const std::optional<TokenRows>& rows, const Weight& weight) {
        if (rows) rows->rows.master.detach().copy_(weight.rows(rows->ids));
    };
    take_rows_of(embedding_.rows, *base.embedding);
    take_rows_of(linears_[output.index].rows, *base.output().weight);
    if (base.device().is_meta()) return refresh(base);

    if (embedding_.lora) {
        const std::string& module = base.modules().embedding.name;
        if (spec_.init == LoraInit::kRandom)
            fill_normal(embedding_.lora->a.detach(), module + ".lora_embedding_A", spec_.seed, 1);
        fill_normal(embedding_.lora->b.detach(), module + ".lora_embedding_B", spec_.seed, 1);
    }
    for (const BaseLinear& linear : base.linears) {
        auto& loras = linears_[linear.module.index].loras;
        for (size_t part = 0; part < loras.size(); ++part) {
            if (loras[part])
                initialise_pair(*loras[part], linear.module.parts[part].name,
                                *linear.part_weight(part));
        }
    }
    refresh(base);
    // A magnitude begins as the norm that it stands for, so that DoRA too begins at the base.
    const auto set_magnitude = [](const std::optional<Lora>& lora) {
        if (lora && lora->magnitude.defined()) lora->magnitude.detach().copy_(lora->weight_norm);
    };
    set_magnitude(embedding_.lora);
    for (const LinearAdapter& linear : linears_) {
        for (const auto& lora : linear.loras) set_magnitude(lora);
    }
}

}  // namespace grpo

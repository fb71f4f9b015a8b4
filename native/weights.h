// All weights of an engine: the decoder, its adapters by name, the reference, and who of them
// answers now. One adapter at most is active. A model that is trained in full is the adapter of all
// its modules; until a reference is made, the decoder's own tensors are then the trained ones.
// Also the sets of tensors that are saved and loaded by name.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/adapter.h"
#include "model/decoder.h"
#include "model/named_tensor.h"
#include "model_spec.h"

namespace grpo {

class TensorFiles;

enum class TensorSet { kModel, kAdapter, kOptimizer, kMerged, kSafelyMerged, kReference };
template <>
inline constexpr auto kNames<TensorSet> =
    std::to_array<Named<TensorSet>>({{"model", TensorSet::kModel},
                                     {"adapter", TensorSet::kAdapter},
                                     {"optimizer", TensorSet::kOptimizer},
                                     {"merged", TensorSet::kMerged},
                                     {"safelyMerged", TensorSet::kSafelyMerged},
                                     {"reference", TensorSet::kReference}});

struct TensorInfo {
    std::string name;
    std::string dtype;
    std::vector<int64_t> shape;

    static void fields(auto& self, auto& field) {
        field("name", self.name);
        field("dtype", self.dtype);
        field("shape", self.shape);
    }
};

class Weights {
  public:
    Weights(const ModelConfig& config, at::ScalarType dtype, at::Device device)
        : decoder(config, dtype, device) {}

    /// Normal(0, 0.02) matrices, norms of one, biases of zero: for tests and benchmarks.
    void initialise(uint64_t seed);
    /// The new adapter becomes the active one if there is none.
    void add_adapter(const std::string& name, const AdapterSpec& spec);
    void delete_adapter(const std::string& name);
    /// "": none.
    void set_adapter(const std::string& name);
    void set_enabled(bool enabled);
    void train_all();
    void make_reference();
    void mix_reference(double alpha);
    void merge(const std::vector<std::string>& names, bool safe);
    void unmerge();
    /// Returns whether the output layer has become a matrix of its own.
    bool drop_adapters();

    /// What answers now, and what answers as the reference; nullptr: the decoder by itself.
    const Adapter* policy() const;
    const Adapter* reference() const;
    /// A name of the policy that no other one has while the weights are of one version.
    std::string policy_name() const;
    /// Changes with all weights that a policy may have, but for steps of the optimizer.
    uint64_t version() const { return version_; }
    /// What is trained; throws BAD_INPUT where nothing can be.
    Adapter& trained();
    /// The parameters of what is active or trained in full, on or off; nullptr without any.
    Parameters* parameters() const;
    int64_t optimizer_steps() const;
    /// The optimizer's name; "" before the first step.
    std::string optimizer() const;
    /// Forgets the optimizer and its steps. With a name: fresh memory of that one, for a state that
    /// is loaded next; "": none before the next step.
    void set_optimizer(const std::string& name);
    void zero_grad();

    /// Every tensor of the set must be in the table; step: optimizer steps taken (optimizer only).
    void load_set(TensorSet set, const TensorTable& table, int64_t step);
    void save_set(TensorSet set, const std::string& path, const std::vector<uint8_t>& header,
                  const std::vector<std::string>& names);
    /// Copies in host memory, in the order of the names.
    std::vector<at::Tensor> copy_set(TensorSet set, const std::vector<std::string>& names);
    std::vector<TensorInfo> tensors(TensorSet set);

    Decoder decoder;
    BaseModel& base() { return decoder.base(); }
    const BaseModel& base() const { return decoder.base(); }

  private:
    using StoredTensors = std::map<std::string, const TensorRef*>;
    /// PEFT's files repeat the base's matrix of an embedding that carries a pair. Takes what is
    /// such a copy out of `stored`; throws BAD_ADAPTER for one that is not equal to the base's.
    void check_base_copies(const TensorFiles& files, StoredTensors& stored) const;
    /// Every tensor of the set out of `stored`, which must have no more than these.
    void read_set(TensorSet set, const TensorFiles& files, StoredTensors& stored,
                  const std::string& code);
    std::vector<NamedTensor> set_tensors(TensorSet set);
    std::vector<std::function<at::Tensor()>> readers(TensorSet set,
                                                     const std::vector<std::string>& names);
    std::vector<NamedTensor> merged_tensors(bool safe) const;
    std::vector<NamedTensor> parameter_tensors(Adapter& adapter) const;
    static std::vector<NamedTensor> optimizer_tensors(const Parameters& parameters,
                                                      at::ScalarType dtype);
    /// The one that is active or trained in full, on or off; nullptr without one.
    Adapter* chosen() const;
    Adapter& find(const std::string& name) const;
    void require_unmerged() const;

    std::map<std::string, std::unique_ptr<Adapter>> adapters_;
    std::string active_;
    bool enabled_ = true;
    uint64_t version_ = 0;
    std::unique_ptr<Adapter> whole_;      // of full training
    std::unique_ptr<Adapter> reference_;  // frozen copy of an adapter
    bool own_reference_ = false;          // full training: the decoder is the frozen copy
    bool merged_ = false, tied_before_merge_ = false;
    std::vector<std::pair<NamedTensor, at::Tensor>> before_merge_;  // each with its values
};

}  // namespace grpo

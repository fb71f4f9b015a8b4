#include "binding/convert.h"

#include <algorithm>
#include <map>

#include "error.h"

namespace grpo {
namespace {

Napi::Value field(const Napi::Object& object, const char* name) { return object.Get(name); }

int64_t integer_field(const Napi::Object& object, const char* name) {
    return static_cast<int64_t>(number_field(object, name));
}

template <typename Element>
std::vector<Element> typed_vector(const Napi::Value& value, const char* name,
                                  napi_typedarray_type type) {
    const bool matches =
        value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
    require(matches, std::string(name) + " must be a typed array of the declared type");
    const auto array = value.As<Napi::TypedArrayOf<Element>>();
    return std::vector<Element>(array.Data(), array.Data() + array.ElementLength());
}

std::vector<float> optional_floats(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    return value.IsUndefined() || value.IsNull() ? std::vector<float>{} : float_vector(value, name);
}

/// 0 when absent.
int64_t optional_integer(const Napi::Object& object, const char* name) {
    return field(object, name).IsUndefined() ? 0 : integer_field(object, name);
}

Napi::Array array_field(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    require(value.IsArray(), std::string(name) + " must be an array");
    return value.As<Napi::Array>();
}

Napi::Object element_object(const Napi::Array& array, uint32_t index) {
    const Napi::Value value = array.Get(index);
    require(value.IsObject(), "array elements must be objects");
    return value.As<Napi::Object>();
}

/// The enumerator whose name is at that index.
template <typename Enum>
Enum one_of(const Napi::Object& object, const char* name,
            std::initializer_list<const char*> names) {
    const std::string value = string_field(object, name);
    const auto found = std::find(names.begin(), names.end(), value);
    require(found != names.end(), std::string(name) + " cannot be " + value);
    return static_cast<Enum>(found - names.begin());
}

std::vector<RopeConfig> ropes_from(const Napi::Array& array) {
    std::vector<RopeConfig> ropes;
    for (uint32_t i = 0; i < array.Length(); ++i) {
        const Napi::Object rope = element_object(array, i);
        ropes.push_back({.inv_freq = float_vector(field(rope, "invFreq"), "invFreq"),
                         .scaling = number_field(rope, "scaling"),
                         .switch_length = integer_field(rope, "switchLength"),
                         .long_inv_freq = float_vector(field(rope, "longInvFreq"), "longInvFreq"),
                         .long_scaling = number_field(rope, "longScaling"),
                         .dynamic_factor = number_field(rope, "dynamicFactor"),
                         .dynamic_length = integer_field(rope, "dynamicLength"),
                         .theta = number_field(rope, "theta")});
    }
    return ropes;
}

std::vector<LayerConfig> layers_from(const Napi::Array& array) {
    std::vector<LayerConfig> layers;
    for (uint32_t i = 0; i < array.Length(); ++i) {
        const Napi::Object layer = element_object(array, i);
        layers.push_back(
            {.window = integer_field(layer, "window"), .rope = integer_field(layer, "rope")});
    }
    return layers;
}

void check_offsets(const std::vector<int32_t>& offsets, size_t total, const char* name) {
    const bool valid = !offsets.empty() && offsets.front() == 0 &&
                       std::is_sorted(offsets.begin(), offsets.end()) &&
                       static_cast<size_t>(offsets.back()) == total;
    require(valid, std::string(name) + " must start at 0, ascend, and end at the number of ids");
}

void fill_batch(Batch& batch, const Napi::Object& object) {
    batch.prompt_ids = int32_vector(field(object, "promptIds"), "promptIds");
    batch.prompt_offsets = int32_vector(field(object, "promptOffsets"), "promptOffsets");
    batch.completion_ids = int32_vector(field(object, "completionIds"), "completionIds");
    batch.completion_offsets =
        int32_vector(field(object, "completionOffsets"), "completionOffsets");
    batch.prompt_of = int32_vector(field(object, "promptOf"), "promptOf");
    batch.context_length = optional_integer(object, "contextLength");
    check_offsets(batch.prompt_offsets, batch.prompt_ids.size(), "promptOffsets");
    check_offsets(batch.completion_offsets, batch.completion_ids.size(), "completionOffsets");
}

LoraInit lora_init_from(const std::string& name) {
    if (name == "default") return LoraInit::kDefault;
    if (name == "random") return LoraInit::kRandom;
    if (name == "gaussian") return LoraInit::kGaussian;
    if (name == "pissa") return LoraInit::kPissa;
    if (name == "olora") return LoraInit::kOlora;
    require(name == "orthogonal", "there is no initialisation named " + name);
    return LoraInit::kOrthogonal;
}

}  // namespace

std::string string_field(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    require(value.IsString(), std::string(name) + " must be a string");
    return value.As<Napi::String>();
}

bool bool_field(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    require(value.IsBoolean(), std::string(name) + " must be a boolean");
    return value.As<Napi::Boolean>();
}

double number_field(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    require(value.IsNumber(), std::string(name) + " must be a number");
    return value.As<Napi::Number>().DoubleValue();
}

Napi::Object object_argument(const Napi::CallbackInfo& info, size_t index) {
    require(info[index].IsObject(), "argument " + std::to_string(index) + " must be an object");
    return info[index].As<Napi::Object>();
}

double number_argument(const Napi::CallbackInfo& info, size_t index) {
    require(info[index].IsNumber(), "argument " + std::to_string(index) + " must be a number");
    return info[index].As<Napi::Number>().DoubleValue();
}

std::string string_argument(const Napi::CallbackInfo& info, size_t index) {
    require(info[index].IsString(), "argument " + std::to_string(index) + " must be a string");
    return info[index].As<Napi::String>();
}

std::vector<int32_t> int32_vector(const Napi::Value& value, const char* name) {
    return typed_vector<int32_t>(value, name, napi_int32_array);
}

std::vector<float> float_vector(const Napi::Value& value, const char* name) {
    return typed_vector<float>(value, name, napi_float32_array);
}

std::vector<double> double_vector(const Napi::Value& value, const char* name) {
    return typed_vector<double>(value, name, napi_float64_array);
}

std::vector<uint8_t> byte_vector(const Napi::Value& value, const char* name) {
    return typed_vector<uint8_t>(value, name, napi_uint8_array);
}

std::vector<uint8_t> optional_bytes(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    return value.IsUndefined() ? std::vector<uint8_t>{} : byte_vector(value, name);
}

std::vector<int32_t> optional_int32s(const Napi::Object& object, const char* name) {
    const Napi::Value value = field(object, name);
    return value.IsUndefined() ? std::vector<int32_t>{} : int32_vector(value, name);
}

std::vector<std::string> string_vector(const Napi::Value& value, const char* name) {
    require(value.IsArray(), std::string(name) + " must be an array of strings");
    const auto array = value.As<Napi::Array>();
    std::vector<std::string> strings;
    for (uint32_t i = 0; i < array.Length(); ++i) {
        const Napi::Value element = array.Get(i);
        require(element.IsString(), std::string(name) + " must be an array of strings");
        strings.push_back(element.As<Napi::String>());
    }
    return strings;
}

ModelConfig model_config_from(const Napi::Object& object) {
    ModelConfig config{
        .hidden_size = integer_field(object, "hiddenSize"),
        .intermediate_size = integer_field(object, "intermediateSize"),
        .num_layers = integer_field(object, "numLayers"),
        .num_heads = integer_field(object, "numHeads"),
        .num_kv_heads = integer_field(object, "numKvHeads"),
        .head_dim = integer_field(object, "headDim"),
        .vocab_size = integer_field(object, "vocabSize"),
        .rms_norm_eps = number_field(object, "rmsNormEps"),
        .max_positions = integer_field(object, "maxPositions"),
        .tie_word_embeddings = bool_field(object, "tieWordEmbeddings"),
        .ropes = ropes_from(array_field(object, "ropes")),
        .layers = layers_from(array_field(object, "layers")),
        .qkv_bias = bool_field(object, "qkvBias"),
        .output_bias = bool_field(object, "outputBias"),
        .mlp_bias = bool_field(object, "mlpBias"),
        .fused_projections = bool_field(object, "fusedProjections"),
        .qk_norm = one_of<QkNorm>(object, "qkNorm", {"none", "head", "full"}),
        .pre_norms = bool_field(object, "preNorms"),
        .post_norms = bool_field(object, "postNorms"),
        .norm_offset = number_field(object, "normOffset"),
        .activation = one_of<Activation>(object, "activation", {"silu", "gelu_tanh"}),
        .embedding_scale = number_field(object, "embeddingScale"),
        .attention_scale = number_field(object, "attentionScale"),
        .attention_softcap = number_field(object, "attentionSoftcap"),
        .logit_softcap = number_field(object, "logitSoftcap"),
        .num_labels = integer_field(object, "numLabels"),
    };
    require(config.num_labels >= 0, "numLabels must not be negative");
    for (const int64_t size :
         {config.hidden_size, config.intermediate_size, config.num_layers, config.num_heads,
          config.num_kv_heads, config.head_dim, config.vocab_size, config.max_positions}) {
        require(size > 0, "every size of the model must be positive");
    }
    require(config.num_heads % config.num_kv_heads == 0,
            "numHeads must be a multiple of numKvHeads");
    for (const RopeConfig& rope : config.ropes) {
        const auto rotary = static_cast<int64_t>(rope.inv_freq.size()) * 2;
        require(rotary > 0 && rotary <= config.head_dim,
                "invFreq must have at most headDim / 2 elements");
        require(rope.switch_length == 0 || rope.long_inv_freq.size() == rope.inv_freq.size(),
                "longInvFreq must have as many elements as invFreq");
    }
    require(static_cast<int64_t>(config.layers.size()) == config.num_layers,
            "layers must have numLayers elements");
    for (const LayerConfig& layer : config.layers) {
        require(layer.window >= 0, "window must not be negative");
        require(layer.rope >= -1 && layer.rope < static_cast<int64_t>(config.ropes.size()),
                "rope must be an index into ropes, or -1");
    }
    return config;
}

TensorTable tensor_table_from(const Napi::Object& object) {
    TensorTable table;
    table.files = string_vector(field(object, "files"), "files");
    const Napi::Array tensors = array_field(object, "tensors");
    for (uint32_t i = 0; i < tensors.Length(); ++i) {
        const Napi::Object entry = element_object(tensors, i);
        TensorRef ref{.name = string_field(entry, "name"),
                      .file = integer_field(entry, "file"),
                      .offset = integer_field(entry, "offset"),
                      .bytes = integer_field(entry, "bytes"),
                      .dtype = string_field(entry, "dtype"),
                      .shape = {}};
        const Napi::Array shape = array_field(entry, "shape");
        for (uint32_t d = 0; d < shape.Length(); ++d) {
            ref.shape.push_back(shape.Get(d).ToNumber().Int64Value());
        }
        table.tensors.push_back(std::move(ref));
    }
    return table;
}

AdapterSpec adapter_spec_from(const Napi::Object& object) {
    AdapterSpec spec{.targets = {},
                     .dropout = number_field(object, "dropout"),
                     .init = lora_init_from(string_field(object, "init")),
                     .init_iterations = integer_field(object, "initIterations"),
                     .dora = bool_field(object, "dora"),
                     .biases = string_vector(field(object, "biases"), "biases"),
                     .full_modules = string_vector(field(object, "fullModules"), "fullModules"),
                     .token_rows = {},
                     .tie_output = bool_field(object, "tieOutput"),
                     .seed = static_cast<uint64_t>(number_field(object, "seed"))};
    require(spec.dropout >= 0 && spec.dropout < 1, "dropout must be at least 0 and below 1");
    const Napi::Array targets = array_field(object, "targets");
    for (uint32_t i = 0; i < targets.Length(); ++i) {
        const Napi::Object target = element_object(targets, i);
        spec.targets.push_back({.module = string_field(target, "module"),
                                .rank = integer_field(target, "rank"),
                                .scaling = number_field(target, "scaling")});
    }
    const Napi::Array rows = array_field(object, "tokenRows");
    for (uint32_t i = 0; i < rows.Length(); ++i) {
        const Napi::Object entry = element_object(rows, i);
        spec.token_rows.push_back({.module = string_field(entry, "module"),
                                   .ids = int32_vector(field(entry, "ids"), "ids")});
    }
    return spec;
}

namespace {

void fill_stop_strings(SampleRequest& request, const Napi::Object& object) {
    if (field(object, "stopStrings").IsUndefined()) return;
    const Napi::Array strings = array_field(object, "stopStrings");
    for (uint32_t i = 0; i < strings.Length(); ++i) {
        const auto bytes = typed_vector<uint8_t>(strings.Get(i), "stopStrings", napi_uint8_array);
        require(!bytes.empty(), "a stop string must not be empty");
        request.stop_strings.emplace_back(bytes.begin(), bytes.end());
    }
    const auto bytes =
        typed_vector<uint8_t>(field(object, "tokenBytes"), "tokenBytes", napi_uint8_array);
    request.token_bytes.assign(bytes.begin(), bytes.end());
    request.token_offsets = int32_vector(field(object, "tokenOffsets"), "tokenOffsets");
    check_offsets(request.token_offsets, bytes.size(), "tokenOffsets");
}

}  // namespace

SampleRequest sample_request_from(const Napi::Object& object) {
    SampleRequest request{
        .prompt_ids = int32_vector(field(object, "promptIds"), "promptIds"),
        .prompt_offsets = int32_vector(field(object, "promptOffsets"), "promptOffsets"),
        .prompt_keys = int32_vector(field(object, "promptKeys"), "promptKeys"),
        .group_size = integer_field(object, "groupSize"),
        .max_new_tokens = integer_field(object, "maxNewTokens"),
        .do_sample = bool_field(object, "doSample"),
        .temperature = number_field(object, "temperature"),
        .top_p = number_field(object, "topP"),
        .top_k = integer_field(object, "topK"),
        .min_p = number_field(object, "minP"),
        .repetition_penalty = number_field(object, "repetitionPenalty"),
        .stop_ids = int32_vector(field(object, "stopIds"), "stopIds"),
        .seed = static_cast<uint64_t>(number_field(object, "seed")),
        .step = static_cast<uint64_t>(number_field(object, "step")),
        .max_rows = integer_field(object, "maxRows"),
        .context_length = optional_integer(object, "contextLength"),
        .graph_capture = object.Get("graphCapture").ToBoolean(),
        .plain = object.Get("plain").ToBoolean(),
    };
    fill_stop_strings(request, object);
    check_offsets(request.prompt_offsets, request.prompt_ids.size(), "promptOffsets");
    require(request.temperature > 0, "temperature must be positive");
    require(request.repetition_penalty > 0, "repetitionPenalty must be positive");
    return request;
}

Batch batch_from(const Napi::Object& object) {
    Batch batch;
    fill_batch(batch, object);
    return batch;
}

TrainBatch train_batch_from(const Napi::Object& object) {
    TrainBatch batch;
    fill_batch(batch, object);
    batch.advantages = float_vector(field(object, "advantages"), "advantages");
    batch.old_logprobs = optional_floats(object, "oldLogprobs");
    batch.reference_logprobs = optional_floats(object, "referenceLogprobs");
    batch.sampling_logprobs = optional_floats(object, "samplingLogprobs");
    batch.loss_mask = optional_bytes(object, "lossMask");
    batch.slice_offsets = optional_int32s(object, "sliceOffsets");
    return batch;
}

LossType loss_type_from(const std::string& name) {
    static const std::map<std::string, LossType> types{
        {"grpo", LossType::kGrpo},   {"bnpo", LossType::kBnpo},   {"dr_grpo", LossType::kDrGrpo},
        {"dapo", LossType::kDapo},   {"cispo", LossType::kCispo}, {"sapo", LossType::kSapo},
        {"vespo", LossType::kVespo}, {"luspo", LossType::kLuspo}};
    const auto found = types.find(name);
    require(found != types.end(), name + " is not a lossType");
    return found->second;
}

LossOptions loss_options_from(const Napi::Object& object) {
    LossOptions options{
        .type = loss_type_from(string_field(object, "lossType")),
        .sequence_level = bool_field(object, "sequenceLevel"),
        .beta = number_field(object, "beta"),
        .epsilon_low = number_field(object, "epsilonLow"),
        .epsilon_high = number_field(object, "epsilonHigh"),
        .delta = number_field(object, "delta"),
        .bias_correction_kl = bool_field(object, "biasCorrectionKl"),
        .sapo_temperature_pos = number_field(object, "sapoTemperaturePos"),
        .sapo_temperature_neg = number_field(object, "sapoTemperatureNeg"),
        .vespo_k_pos = number_field(object, "vespoKPos"),
        .vespo_lambda_pos = number_field(object, "vespoLambdaPos"),
        .vespo_k_neg = number_field(object, "vespoKNeg"),
        .vespo_lambda_neg = number_field(object, "vespoLambdaNeg"),
        .off_policy_threshold = number_field(object, "offPolicyThreshold"),
        .top_entropy_quantile = number_field(object, "topEntropyQuantile"),
        .entropy_coef = number_field(object, "entropyCoef"),
        .max_completion_length = integer_field(object, "maxCompletionLength"),
        .loss_tokens = number_field(object, "lossTokens"),
        .gradient_accumulation_steps = number_field(object, "gradientAccumulationSteps"),
        .skip_idle_rows = bool_field(object, "skipIdleRows"),
        .pass = {.temperature = number_field(object, "temperature"),
                 .max_tokens_per_micro_batch = integer_field(object, "maxTokensPerMicroBatch"),
                 .gradient_checkpointing = bool_field(object, "gradientCheckpointing"),
                 .dropout_seed = static_cast<uint64_t>(number_field(object, "dropoutSeed"))},
    };
    require(options.pass.temperature > 0, "temperature must be positive");
    require(options.type != LossType::kDrGrpo || options.max_completion_length > 0,
            "dr_grpo needs maxCompletionLength");
    require(options.top_entropy_quantile >= 0 && options.top_entropy_quantile <= 1,
            "topEntropyQuantile must be between 0 and 1");
    return options;
}

OptimizerKind optimizer_kind_from(const std::string& name) {
    const auto found = std::find(kOptimizerNames.begin(), kOptimizerNames.end(), name);
    require(found != kOptimizerNames.end(), name + " is no optimizer");
    return static_cast<OptimizerKind>(found - kOptimizerNames.begin());
}

OptimizerOptions optimizer_options_from(const Napi::Object& object) {
    return {.kind = optimizer_kind_from(string_field(object, "optimizer")),
            .learning_rate = number_field(object, "learningRate"),
            .lora_plus_ratio = number_field(object, "loraPlusRatio"),
            .lora_plus_embedding_rate = number_field(object, "loraPlusEmbeddingRate"),
            .beta1 = number_field(object, "beta1"),
            .beta2 = number_field(object, "beta2"),
            .epsilon = number_field(object, "epsilon"),
            .momentum = number_field(object, "momentum"),
            .dampening = number_field(object, "dampening"),
            .nesterov = bool_field(object, "nesterov"),
            .newton_schulz_steps = integer_field(object, "newtonSchulzSteps"),
            .match_adamw = bool_field(object, "matchAdamW"),
            .weight_decay = number_field(object, "weightDecay"),
            .max_grad_norm = number_field(object, "maxGradNorm")};
}

TensorSet tensor_set_from(const Napi::Value& value) {
    const std::string name = value.IsString() ? std::string(value.As<Napi::String>()) : "";
    if (name == "model") return TensorSet::kModel;
    if (name == "adapter") return TensorSet::kAdapter;
    if (name == "optimizer") return TensorSet::kOptimizer;
    if (name == "merged") return TensorSet::kMerged;
    if (name == "safelyMerged") return TensorSet::kSafelyMerged;
    require(name == "reference", "there is no tensor set named " + name);
    return TensorSet::kReference;
}

}  // namespace grpo

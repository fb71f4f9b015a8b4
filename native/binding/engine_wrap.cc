#include "binding/engine_wrap.h"

#include <ATen/Parallel.h>

#include <memory>
#include <tuple>
#include <type_traits>

#include "binding/call.h"
#include "binding/errors.h"
#include "binding/job_queue.h"
#include "binding/snapshot.h"
#include "engine.h"
#include "error.h"
#include "large_blocks.h"

namespace grpo {
namespace {

struct EngineOptions {
    ModelConfig config;
    std::string device;
    std::string dtype;
    int64_t threads = 0;  // 0: libtorch's own choice

    static void fields(auto& self, auto& field) {
        field("config", self.config);
        field("device", self.device);
        field("dtype", self.dtype);
        field("threads", self.threads);
    }
};

struct MergeOptions {
    bool safe = false;

    static void fields(auto& self, auto& field) { field("safe", self.safe); }
};

/// What a verb may ask of its queue while it runs.
struct Call {
    const Cancelled& cancelled;
    JobQueue& queue;

    /// Calls the function on the JavaScript thread, in the order of the events.
    template <typename Event>
    std::function<void(Event)> to_listener(const JsFunction& listener) const {
        return [listener, &queue = queue](Event event) {
            queue.call_js([listener, event = std::move(event)](Napi::Env env) {
                const Napi::HandleScope scope(env);
                listener->Call({to_js(env, event)});
            });
        };
    }
};

/// What libtorch chose, before any engine chose otherwise: a choice is the default of later
/// threads.
int default_threads() {
    static const int threads = at::get_num_threads();
    return threads;
}

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
  public:
    static std::vector<PropertyDescriptor> verbs();

    explicit EngineWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineWrap>(info) {
        guarded(info.Env(), [&] {
            const auto options = argument<EngineOptions>(info, 0);
            engine_ = std::shared_ptr<Engine>(
                new Engine(options.config, options.device, options.dtype), [](Engine* engine) {
                    delete engine;
                    release_large_blocks();
                });
            const int usual = default_threads();
            const int threads = options.threads > 0 ? static_cast<int>(options.threads) : usual;
            queue_ = std::make_shared<JobQueue>(info.Env(), [threads, device = engine_->device()] {
                // libtorch keeps both for the thread that asks for them, the number also for
                // those that never do.
                at::set_num_threads(threads);
                make_current(device);
            });
        });
        // A worker thread or the process may end while a job runs: wait for it, so that nothing
        // outlives the environment.
        napi_add_env_cleanup_hook(info.Env(), close_queue, queue_.get());
    }

    ~EngineWrap() override {
        if (!queue_) return;
        napi_remove_env_cleanup_hook(Env(), close_queue, queue_.get());
        queue_->close();
    }

  private:
    static void close_queue(void* queue) { static_cast<JobQueue*>(queue)->close(); }

    /// A method of the class that queues `body` on the engine's thread and returns the promise of
    /// its result. The parameters of `body` after the engine (and the call, if it wants to know of
    /// that) are the arguments in JavaScript, read as their types. It captures nothing: C++ makes
    /// it anew from its type where it runs.
    template <typename Body>
    static PropertyDescriptor verb(const char* name, Body) {
        return InstanceMethod<&EngineWrap::queue_verb<Body>>(name);
    }

    template <typename Body>
    Napi::Value queue_verb(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&] { return queue_body<Body>(info, &Body::operator()); });
    }

    template <typename Body, typename Result, typename... Types>
    Napi::Value queue_body(const Napi::CallbackInfo& info,
                           Result (Body::*)(Engine&, const Call&, Types...) const) {
        return enqueue<Result>(info, arguments<std::decay_t<Types>...>(info), Body());
    }

    template <typename Body, typename Result, typename... Types>
    Napi::Value queue_body(const Napi::CallbackInfo& info,
                           Result (Body::*)(Engine&, Types...) const) {
        return enqueue<Result>(info, arguments<std::decay_t<Types>...>(info),
                               [](Engine& engine, const Call&, const auto&... given) {
                                   return Body()(engine, given...);
                               });
    }

    template <typename Result, typename Arguments, typename Body>
    Napi::Value enqueue(const Napi::CallbackInfo& info, Arguments arguments, Body body) {
        check_alive();
        auto work = [&engine = *engine_, &queue = *queue_, arguments = std::move(arguments),
                     body](const Cancelled& cancelled) -> JobQueue::Settle {
            const auto run = [&](const auto&... given) {
                return body(engine, Call{cancelled, queue}, given...);
            };
            if constexpr (std::is_void_v<Result>) {
                std::apply(run, arguments);
                return [](Napi::Env env) { return env.Undefined(); };
            } else {
                return [result = std::apply(run, arguments)](Napi::Env env) -> Napi::Value {
                    return to_js(env, result);
                };
            }
        };
        return queue_->enqueue(info.Env(), std::move(work), engine_);
    }

    void check_alive() const {
        if (engine_) return;
        throw EngineError("DISPOSED", "the model was disposed",
                          "load it again, or call dispose() later");
    }

    // On the JavaScript thread, at once.

    Napi::Value cancel(const Napi::CallbackInfo& info) {
        if (engine_) queue_->cancel();
        return info.Env().Undefined();
    }

    Napi::Value enter_stream(const Napi::CallbackInfo& info) {
        return with_engine(info, [&](Engine& engine) {
            auto request = argument<StreamRequest>(info, 0);
            engine.check_stream(request);
            engine.inbox().enter(std::move(request));
        });
    }

    Napi::Value leave_stream(const Napi::CallbackInfo& info) {
        return with_engine(
            info, [&](Engine& engine) { engine.inbox().leave(argument<int64_t>(info, 0)); });
    }

    Napi::Value allow_tokens(const Napi::CallbackInfo& info) {
        return with_engine(info, [&](Engine& engine) {
            engine.inbox().allow(argument<int64_t>(info, 0), argument<int64_t>(info, 1),
                                 argument<std::vector<int32_t>>(info, 2));
        });
    }

    template <typename Body>
    Napi::Value with_engine(const Napi::CallbackInfo& info, const Body& body) {
        return guarded(info.Env(), [&] {
            check_alive();
            body(*engine_);
            return info.Env().Undefined();
        });
    }

    Napi::Value syncs(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&] {
            check_alive();
            return to_js(info.Env(), engine_->syncs());
        });
    }

    Napi::Value dispose(const Napi::CallbackInfo& info) {
        if (engine_) {
            queue_->cancel();
            queue_->finish();
            engine_.reset();  // the jobs still queued hold it until they have ended
        }
        return info.Env().Undefined();
    }

    std::shared_ptr<Engine> engine_;  // every job holds it, so the last one to end frees it
    std::shared_ptr<JobQueue> queue_;
};

std::vector<EngineWrap::PropertyDescriptor> EngineWrap::verbs() {
    using Name = const std::string&;
    using Names = const std::vector<std::string>&;
    return {
        verb("loadModel",
             [](Engine& engine, const TensorTable& table) {
                 engine.weights().load_set(TensorSet::kModel, table, 0);
             }),
        verb("initModel", [](Engine& engine, uint64_t seed) { engine.weights().initialise(seed); }),

        verb("addAdapter",
             [](Engine& engine, Name name, const AdapterSpec& spec) {
                 engine.weights().add_adapter(name, spec);
             }),
        verb("deleteAdapter",
             [](Engine& engine, Name name) { engine.weights().delete_adapter(name); }),
        verb("setAdapter", [](Engine& engine, Name name) { engine.weights().set_adapter(name); }),
        verb("setAdapterEnabled",
             [](Engine& engine, bool enabled) { engine.weights().set_enabled(enabled); }),
        verb("mergeAdapters",
             [](Engine& engine, Names names, const MergeOptions& options) {
                 engine.weights().merge(names, options.safe);
             }),
        verb("unmergeAdapters", [](Engine& engine) { engine.weights().unmerge(); }),
        verb("dropAdapters", [](Engine& engine) { return engine.weights().drop_adapters(); }),

        verb("trainAll", [](Engine& engine) { engine.weights().train_all(); }),
        verb("makeReference", [](Engine& engine) { engine.weights().make_reference(); }),
        verb("mixReference",
             [](Engine& engine, double alpha) { engine.weights().mix_reference(alpha); }),

        verb("loadSet", [](Engine& engine, TensorSet set, const TensorTable& table,
                           int64_t step) { engine.weights().load_set(set, table, step); }),
        verb("saveSet",
             [](Engine& engine, TensorSet set, Name path, const std::vector<uint8_t>& header,
                Names names) { engine.weights().save_set(set, path, header, names); }),
        verb("copySet",
             [](Engine& engine, TensorSet set, Names names) {
                 return std::make_shared<Snapshot>(
                     Snapshot{.tensors = engine.weights().copy_set(set, names)});
             }),
        verb("tensors",
             [](Engine& engine, TensorSet set) { return engine.weights().tensors(set); }),
        verb("optimizerSteps", [](Engine& engine) { return engine.weights().optimizer_steps(); }),
        verb("optimizer", [](Engine& engine) { return engine.weights().optimizer(); }),
        verb("setOptimizer",
             [](Engine& engine, Name name) { engine.weights().set_optimizer(name); }),

        verb("sample",
             [](Engine& engine, const Call& call, const SampleRequest& request,
                const JsFunction& on_group, const std::optional<JsFunction>& on_tokens) {
                 SampleEvents events;
                 events.on_group = call.to_listener<Group>(on_group);
                 if (on_tokens) events.on_tokens = call.to_listener<StepTokens>(*on_tokens);
                 return engine.sample(request, call.cancelled, events);
             }),
        verb("stream",
             [](Engine& engine, const Call& call, const StreamOptions& options,
                const JsFunction& on_tokens, const JsFunction& on_opened) {
                 SampleEvents events;
                 events.on_tokens = call.to_listener<StepTokens>(on_tokens);
                 events.on_opened = call.to_listener<PromptOpened>(on_opened);
                 return engine.stream(options, call.cancelled, events);
             }),
        verb("logprobs",
             [](Engine& engine, const Call& call, const Batch& batch, double temperature,
                std::optional<bool> reference) {
                 return engine.logprobs(batch, temperature, reference.value_or(false),
                                        call.cancelled);
             }),
        verb("forward",
             [](Engine& engine, const std::vector<int32_t>& ids,
                const std::vector<int32_t>& offsets) { return engine.forward(ids, offsets); }),
        verb("forwardBackward",
             [](Engine& engine, const Call& call, const TrainBatch& batch,
                const LossOptions& options) {
                 return engine.forward_backward(batch, options, call.cancelled);
             }),
        verb(
            "sftForwardBackward",
            [](Engine& engine, const Call& call, const SftBatch& batch, const SftOptions& options) {
                return engine.sft_forward_backward(batch, options, call.cancelled);
            }),
        verb(
            "sftEvaluate",
            [](Engine& engine, const Call& call, const SftBatch& batch, const SftOptions& options) {
                return engine.sft_evaluate(batch, options, call.cancelled);
            }),
        verb("optimizerStep",
             [](Engine& engine, const Call& call, const OptimizerOptions& options) {
                 return engine.optimizer_step(options, call.cancelled);
             }),
        verb("zeroGrad", [](Engine& engine) { engine.zero_grad(); }),
        verb("gradients", [](Engine& engine) { return engine.gradients(); }),

        verb("joinRanks",
             [](Engine& engine, const RankOptions& options) { engine.join_ranks(options); }),
        verb("gatherBytes",
             [](Engine& engine, const Call& call, const Bytes& own) {
                 return engine.ranks().gather(own, call.cancelled);
             }),
        verb("shareValues",
             [](Engine& engine, const Call& call) { engine.share_values(call.cancelled); }),
        verb("leaveRanks", [](Engine& engine, Name reason) { engine.leave_ranks(reason); }),

        verb("memory", [](Engine& engine) { return engine.memory(); }),
        verb("countOperators",
             [](Engine& engine, bool count) { return engine.count_operators(count); }),

        InstanceMethod<&EngineWrap::enter_stream>("enterStream"),
        InstanceMethod<&EngineWrap::leave_stream>("leaveStream"),
        InstanceMethod<&EngineWrap::allow_tokens>("allowTokens"),
        InstanceMethod<&EngineWrap::cancel>("cancel"),
        InstanceMethod<&EngineWrap::syncs>("syncs"),
        InstanceMethod<&EngineWrap::dispose>("dispose"),
    };
}

}  // namespace

Napi::Function define_engine(Napi::Env env) {
    return EngineWrap::DefineClass(env, "Engine", EngineWrap::verbs());
}

}  // namespace grpo

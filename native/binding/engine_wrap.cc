#include "binding/engine_wrap.h"

#include <ATen/Parallel.h>

#include <type_traits>

#include "binding/convert.h"
#include "binding/errors.h"
#include "binding/snapshot.h"
#include "error.h"

namespace grpo {
namespace {

void close_queue(void* queue) { static_cast<JobQueue*>(queue)->close(); }

/// What libtorch chose, before any engine chose otherwise: a choice is the default of later
/// threads.
int default_threads() {
    static const int threads = at::get_num_threads();
    return threads;
}

}  // namespace

Napi::Function EngineWrap::define(Napi::Env env) {
    return DefineClass(env, "Engine",
                       {InstanceMethod<&EngineWrap::load_model>("loadModel"),
                        InstanceMethod<&EngineWrap::init_model>("initModel"),
                        InstanceMethod<&EngineWrap::add_adapter>("addAdapter"),
                        InstanceMethod<&EngineWrap::delete_adapter>("deleteAdapter"),
                        InstanceMethod<&EngineWrap::set_adapter>("setAdapter"),
                        InstanceMethod<&EngineWrap::train_all>("trainAll"),
                        InstanceMethod<&EngineWrap::make_reference>("makeReference"),
                        InstanceMethod<&EngineWrap::mix_reference>("mixReference"),
                        InstanceMethod<&EngineWrap::merge_adapters>("mergeAdapters"),
                        InstanceMethod<&EngineWrap::unmerge_adapters>("unmergeAdapters"),
                        InstanceMethod<&EngineWrap::drop_adapters>("dropAdapters"),
                        InstanceMethod<&EngineWrap::load_set>("loadSet"),
                        InstanceMethod<&EngineWrap::save_set>("saveSet"),
                        InstanceMethod<&EngineWrap::copy_set>("copySet"),
                        InstanceMethod<&EngineWrap::tensors>("tensors"),
                        InstanceMethod<&EngineWrap::optimizer_steps>("optimizerSteps"),
                        InstanceMethod<&EngineWrap::optimizer>("optimizer"),
                        InstanceMethod<&EngineWrap::set_optimizer>("setOptimizer"),
                        InstanceMethod<&EngineWrap::memory>("memory"),
                        InstanceMethod<&EngineWrap::set_adapter_enabled>("setAdapterEnabled"),
                        InstanceMethod<&EngineWrap::sample>("sample"),
                        InstanceMethod<&EngineWrap::logprobs>("logprobs"),
                        InstanceMethod<&EngineWrap::forward>("forward"),
                        InstanceMethod<&EngineWrap::forward_backward>("forwardBackward"),
                        InstanceMethod<&EngineWrap::optimizer_step>("optimizerStep"),
                        InstanceMethod<&EngineWrap::zero_grad>("zeroGrad"),
                        InstanceMethod<&EngineWrap::gradients>("gradients"),
                        InstanceMethod<&EngineWrap::cancel>("cancel"),
                        InstanceMethod<&EngineWrap::count_operators>("countOperators"),
                        InstanceMethod<&EngineWrap::syncs>("syncs"),
                        InstanceMethod<&EngineWrap::dispose>("dispose")});
}

/// Calls the function on the JavaScript thread. The reference is created and freed there too,
/// because the queue destroys jobs there.
template <typename Event>
std::function<void(Event)> to_listener(const Napi::Function& function, JobQueue& queue) {
    auto listener = std::make_shared<Napi::FunctionReference>(Napi::Persistent(function));
    return [listener, &queue](Event event) {
        queue.call_js([listener, event = std::move(event)](Napi::Env env) {
            const Napi::HandleScope scope(env);
            listener->Call({to_js(env, event)});
        });
    };
}

EngineWrap::EngineWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineWrap>(info) {
    guarded(info.Env(), [&] {
        const Napi::Object options = object_argument(info, 0);
        const Napi::Value config = options.Get("config");
        require(config.IsObject(), "config must be an object");
        engine_ = std::make_shared<Engine>(model_config_from(config.As<Napi::Object>()),
                                           string_field(options, "device"),
                                           string_field(options, "dtype"));
        const int usual = default_threads();
        const auto threads = static_cast<int>(number_field(options, "threads"));
        queue_ = std::make_shared<JobQueue>(info.Env(), threads > 0 ? threads : usual);
    });
    // A worker thread or the process may end while a job runs: wait for it, so that nothing
    // outlives the environment.
    napi_add_env_cleanup_hook(info.Env(), close_queue, queue_.get());
}

EngineWrap::~EngineWrap() {
    if (!queue_) return;
    napi_remove_env_cleanup_hook(Env(), close_queue, queue_.get());
    queue_->close();
}

void EngineWrap::check_alive() const {
    if (!engine_) {
        throw EngineError("DISPOSED", "the model was disposed",
                          "load it again, or call dispose() later");
    }
}

template <typename Body>
Napi::Value EngineWrap::job(const Napi::CallbackInfo& info, Body body) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        check_alive();
        auto work = [&engine = *engine_, body = std::move(body)](
                        const JobQueue::Cancelled& cancelled) -> JobQueue::Settle {
            if constexpr (std::is_void_v<decltype(body(engine, cancelled))>) {
                body(engine, cancelled);
                return [](Napi::Env env) { return env.Undefined(); };
            } else {
                return [result = body(engine, cancelled)](Napi::Env env) -> Napi::Value {
                    return to_js(env, result);
                };
            }
        };
        return queue_->enqueue(info.Env(), std::move(work), engine_);
    });
}

Napi::Value EngineWrap::load_model(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info, [table = tensor_table_from(object_argument(info, 0))](Engine& engine,
                                                                               const Cancelled&) {
            engine.weights().load_set(TensorSet::kModel, table, 0);
        });
    });
}

Napi::Value EngineWrap::init_model(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info,
                   [seed = static_cast<uint64_t>(number_argument(info, 0))](
                       Engine& engine, const Cancelled&) { engine.weights().initialise(seed); });
    });
}

Napi::Value EngineWrap::add_adapter(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(
            info,
            [name = string_argument(info, 0), spec = adapter_spec_from(object_argument(info, 1))](
                Engine& engine, const Cancelled&) { engine.weights().add_adapter(name, spec); });
    });
}

Napi::Value EngineWrap::delete_adapter(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info, [name = string_argument(info, 0)](Engine& engine, const Cancelled&) {
            engine.weights().delete_adapter(name);
        });
    });
}

Napi::Value EngineWrap::set_adapter(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info, [name = string_argument(info, 0)](Engine& engine, const Cancelled&) {
            engine.weights().set_adapter(name);
        });
    });
}

Napi::Value EngineWrap::train_all(const Napi::CallbackInfo& info) {
    return job(info, [](Engine& engine, const Cancelled&) { engine.weights().train_all(); });
}

Napi::Value EngineWrap::make_reference(const Napi::CallbackInfo& info) {
    return job(info, [](Engine& engine, const Cancelled&) { engine.weights().make_reference(); });
}

Napi::Value EngineWrap::mix_reference(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info, [alpha = number_argument(info, 0)](Engine& engine, const Cancelled&) {
            engine.weights().mix_reference(alpha);
        });
    });
}

Napi::Value EngineWrap::merge_adapters(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info,
                   [names = string_vector(info[0], "names"),
                    safe = bool_field(object_argument(info, 1), "safe")](
                       Engine& engine, const Cancelled&) { engine.weights().merge(names, safe); });
    });
}

Napi::Value EngineWrap::unmerge_adapters(const Napi::CallbackInfo& info) {
    return job(info, [](Engine& engine, const Cancelled&) { engine.weights().unmerge(); });
}

Napi::Value EngineWrap::drop_adapters(const Napi::CallbackInfo& info) {
    return job(info,
               [](Engine& engine, const Cancelled&) { return engine.weights().drop_adapters(); });
}

Napi::Value EngineWrap::load_set(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(
            info,
            [set = tensor_set_from(info[0]), table = tensor_table_from(object_argument(info, 1)),
             step = static_cast<int64_t>(number_argument(info, 2))](
                Engine& engine, const Cancelled&) { engine.weights().load_set(set, table, step); });
    });
}

Napi::Value EngineWrap::save_set(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info,
                   [set = tensor_set_from(info[0]), path = string_argument(info, 1),
                    header = byte_vector(info[2], "header"),
                    names = string_vector(info[3], "names")](Engine& engine, const Cancelled&) {
                       engine.weights().save_set(set, path, header, names);
                   });
    });
}

Napi::Value EngineWrap::copy_set(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info, [set = tensor_set_from(info[0]), names = string_vector(info[1], "names")](
                             Engine& engine, const Cancelled&) {
            return std::make_shared<Snapshot>(
                Snapshot{.tensors = engine.weights().copy_set(set, names)});
        });
    });
}

Napi::Value EngineWrap::tensors(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info, [set = tensor_set_from(info[0])](Engine& engine, const Cancelled&) {
            return engine.weights().tensors(set);
        });
    });
}

Napi::Value EngineWrap::optimizer_steps(const Napi::CallbackInfo& info) {
    return job(info,
               [](Engine& engine, const Cancelled&) { return engine.weights().optimizer_steps(); });
}

Napi::Value EngineWrap::optimizer(const Napi::CallbackInfo& info) {
    return job(info, [](Engine& engine, const Cancelled&) { return engine.weights().optimizer(); });
}

Napi::Value EngineWrap::set_optimizer(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info,
                   [kind = optimizer_kind_from(string_argument(info, 0))](
                       Engine& engine, const Cancelled&) { engine.weights().set_optimizer(kind); });
    });
}

Napi::Value EngineWrap::memory(const Napi::CallbackInfo& info) {
    return job(info, [](Engine& engine, const Cancelled&) { return engine.memory(); });
}

Napi::Value EngineWrap::set_adapter_enabled(const Napi::CallbackInfo& info) {
    return job(info, [enabled = info[0].ToBoolean().Value()](Engine& engine, const Cancelled&) {
        engine.weights().set_enabled(enabled);
    });
}

Napi::Value EngineWrap::sample(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        require(info[1].IsFunction(), "argument 1 must be a function");
        SampleEvents events;
        events.on_group = to_listener<Group>(info[1].As<Napi::Function>(), *queue_);
        if (info[2].IsFunction())
            events.on_tokens = to_listener<StepTokens>(info[2].As<Napi::Function>(), *queue_);
        return job(info, [request = sample_request_from(object_argument(info, 0)), events](
                             Engine& engine, const Cancelled& cancelled) {
            return engine.sample(request, cancelled, events);
        });
    });
}

Napi::Value EngineWrap::logprobs(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(
            info,
            [batch = batch_from(object_argument(info, 0)), temperature = number_argument(info, 1),
             reference = info[2].ToBoolean().Value()](Engine& engine, const Cancelled& cancelled) {
                return engine.logprobs(batch, temperature, reference, cancelled);
            });
    });
}

Napi::Value EngineWrap::forward(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info,
                   [ids = int32_vector(info[0], "ids"), offsets = int32_vector(info[1], "offsets")](
                       Engine& engine, const Cancelled&) { return engine.forward(ids, offsets); });
    });
}

Napi::Value EngineWrap::forward_backward(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(info, [batch = train_batch_from(object_argument(info, 0)),
                          options = loss_options_from(object_argument(info, 1))](
                             Engine& engine, const Cancelled& cancelled) {
            return engine.forward_backward(batch, options, cancelled);
        });
    });
}

Napi::Value EngineWrap::optimizer_step(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
        return job(
            info, [options = optimizer_options_from(object_argument(info, 0))](
                      Engine& engine, const Cancelled&) { return engine.optimizer_step(options); });
    });
}

Napi::Value EngineWrap::zero_grad(const Napi::CallbackInfo& info) {
    return job(info, [](Engine& engine, const Cancelled&) { engine.zero_grad(); });
}

Napi::Value EngineWrap::gradients(const Napi::CallbackInfo& info) {
    return job(info, [](Engine& engine, const Cancelled&) { return engine.gradients(); });
}

Napi::Value EngineWrap::cancel(const Napi::CallbackInfo& info) {
    if (engine_) queue_->cancel();
    return info.Env().Undefined();
}

Napi::Value EngineWrap::count_operators(const Napi::CallbackInfo& info) {
    return job(info, [count = info[0].ToBoolean().Value()](Engine& engine, const Cancelled&) {
        return engine.count_operators(count);
    });
}

Napi::Value EngineWrap::syncs(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        check_alive();
        return Napi::Number::New(info.Env(), static_cast<double>(engine_->syncs()));
    });
}

Napi::Value EngineWrap::dispose(const Napi::CallbackInfo& info) {
    if (engine_) {
        queue_->cancel();
        queue_->finish();
        engine_.reset();  // the jobs still queued hold it until they have ended
    }
    return info.Env().Undefined();
}

}  // namespace grpo

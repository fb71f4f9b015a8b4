// The JavaScript class Engine: lib/native/native.ts is its typed mirror. Every slow verb becomes a
// job and a promise.
#pragma once

#include <memory>

#include "binding/job_queue.h"
#include "binding/napi_setup.h"
#include "engine.h"

namespace grpo {

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
  public:
    static Napi::Function define(Napi::Env env);
    explicit EngineWrap(const Napi::CallbackInfo& info);
    ~EngineWrap() override;

  private:
    /// Queues `body(Engine&, Cancelled)` on the engine thread; its result is converted on the
    /// JavaScript thread.
    template <typename Body>
    Napi::Value job(const Napi::CallbackInfo& info, Body body);
    void check_alive() const;

    Napi::Value load_model(const Napi::CallbackInfo& info);
    Napi::Value init_model(const Napi::CallbackInfo& info);
    Napi::Value add_adapter(const Napi::CallbackInfo& info);
    Napi::Value delete_adapter(const Napi::CallbackInfo& info);
    Napi::Value set_adapter(const Napi::CallbackInfo& info);
    Napi::Value train_all(const Napi::CallbackInfo& info);
    Napi::Value make_reference(const Napi::CallbackInfo& info);
    Napi::Value mix_reference(const Napi::CallbackInfo& info);
    Napi::Value merge_adapters(const Napi::CallbackInfo& info);
    Napi::Value unmerge_adapters(const Napi::CallbackInfo& info);
    Napi::Value drop_adapters(const Napi::CallbackInfo& info);
    Napi::Value load_set(const Napi::CallbackInfo& info);
    Napi::Value save_set(const Napi::CallbackInfo& info);
    Napi::Value copy_set(const Napi::CallbackInfo& info);
    Napi::Value tensors(const Napi::CallbackInfo& info);
    Napi::Value optimizer_steps(const Napi::CallbackInfo& info);
    Napi::Value optimizer(const Napi::CallbackInfo& info);
    Napi::Value set_optimizer(const Napi::CallbackInfo& info);
    Napi::Value memory(const Napi::CallbackInfo& info);
    Napi::Value set_adapter_enabled(const Napi::CallbackInfo& info);
    Napi::Value sample(const Napi::CallbackInfo& info);
    Napi::Value logprobs(const Napi::CallbackInfo& info);
    Napi::Value forward(const Napi::CallbackInfo& info);
    Napi::Value forward_backward(const Napi::CallbackInfo& info);
    Napi::Value optimizer_step(const Napi::CallbackInfo& info);
    Napi::Value zero_grad(const Napi::CallbackInfo& info);
    Napi::Value gradients(const Napi::CallbackInfo& info);
    Napi::Value cancel(const Napi::CallbackInfo& info);
    Napi::Value count_operators(const Napi::CallbackInfo& info);
    Napi::Value syncs(const Napi::CallbackInfo& info);
    Napi::Value dispose(const Napi::CallbackInfo& info);

    std::shared_ptr<Engine> engine_;  // every job holds it, so the last one to end frees it
    std::shared_ptr<JobQueue> queue_;
};

}  // namespace grpo

#include "binding/snapshot.h"

#include <exception>
#include <functional>
#include <string>

#include "binding/call.h"
#include "binding/errors.h"
#include "error.h"
#include "io/tensor_file.h"

namespace grpo {
namespace {

class SnapshotWriter : public Napi::AsyncWorker {
  public:
    SnapshotWriter(Napi::Env env, std::vector<at::Tensor> tensors, std::string path,
                   std::vector<uint8_t> header)
        : Napi::AsyncWorker(env),
          deferred_(Napi::Promise::Deferred::New(env)),
          tensors_(std::move(tensors)),
          path_(std::move(path)),
          header_(std::move(header)) {}

    Napi::Promise promise() const { return deferred_.Promise(); }

    void Execute() override {
        std::vector<std::function<at::Tensor()>> readers;
        for (const at::Tensor& tensor : tensors_) readers.push_back([tensor] { return tensor; });
        try {
            write_tensor_file(path_, header_, readers);
        } catch (...) {
            failure_ = std::current_exception();
        }
        tensors_.clear();
    }

    void OnOK() override {
        const Napi::HandleScope scope(Env());
        if (failure_) {
            deferred_.Reject(to_js_error(Env(), failure_).Value());
        } else {
            deferred_.Resolve(Env().Undefined());
        }
    }

  private:
    Napi::Promise::Deferred deferred_;
    std::vector<at::Tensor> tensors_;
    std::string path_;
    std::vector<uint8_t> header_;
    std::exception_ptr failure_;
};

Napi::Value write(const Napi::CallbackInfo& info, const std::shared_ptr<Snapshot>& snapshot) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        auto [path, header] = arguments<std::string, std::vector<uint8_t>>(info);
        require(!std::exchange(snapshot->written, true), "this snapshot is written already");
        // Deletes itself.
        auto* writer = new SnapshotWriter(info.Env(), std::exchange(snapshot->tensors, {}),
                                          std::move(path), std::move(header));
        const Napi::Promise promise = writer->promise();
        writer->Queue();
        return promise;
    });
}

}  // namespace

Napi::Value to_js(Napi::Env env, const std::shared_ptr<Snapshot>& snapshot) {
    double bytes = 0;
    for (const at::Tensor& tensor : snapshot->tensors)
        bytes += static_cast<double>(tensor.nbytes());
    Napi::Object object = Napi::Object::New(env);
    object.Set("bytes", bytes);
    object.Set("write", Napi::Function::New(env, [snapshot](const Napi::CallbackInfo& info) {
                   return write(info, snapshot);
               }));
    return object;
}

}  // namespace grpo

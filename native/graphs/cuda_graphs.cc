// What at::accelerator::Graph lacks for CUDA in libtorch 2.13 and 2.14: an implementation, by
// at::cuda::CUDAGraph. A library of its own, because it needs CUDA's headers and libtorch_cuda,
// which the core does without; opening it is all that there is to do. Not run on a GPU.
#include <ATen/core/GraphImplInterface.h>
#include <ATen/cuda/CUDAGraph.h>

namespace {

cudaStreamCaptureMode mode_of(at::GraphCaptureMode mode) {
    switch (mode) {
        case at::GraphCaptureMode::Global:
            return cudaStreamCaptureModeGlobal;
        case at::GraphCaptureMode::Relaxed:
            return cudaStreamCaptureModeRelaxed;
        default:
            // The threads of other models may allocate meanwhile.
            return cudaStreamCaptureModeThreadLocal;
    }
}

class CudaGraph final : public at::GraphImplInterface {
  public:
    explicit CudaGraph(const at::GraphImplArgs& args) : graph_(args.keep_graph) {}
    void capture_begin(at::MempoolId_t pool, at::GraphCaptureMode mode) override {
        graph_.capture_begin(pool, mode_of(mode));
    }
    void capture_end() override { graph_.capture_end(); }
    void instantiate() override { graph_.instantiate(); }
    void replay() override { graph_.replay(); }
    void reset() override { graph_.reset(); }
    // Which at::cuda::CUDAGraph does not declare const.
    at::MempoolId_t pool() const override {
        return const_cast<at::cuda::CUDAGraph&>(graph_).pool();
    }
    void enable_debug_mode() override { graph_.enable_debug_mode(); }
    void debug_dump(const std::string& /*path*/) override {}

  private:
    at::cuda::CUDAGraph graph_;
};

}  // namespace

namespace at {
REGISTER_GRAPH_IMPL(CUDA, CudaGraph);
}

"""What vLLM's own reload_weights leaves undone: a server that is started with this takes over every weight.

    PYTHONPATH=scripts/servers VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --worker-extension-cls grpo_vllm.Reload

On the CPU vLLM 0.32 packs the output layer when it loads a model; reload_weights changes the embedding that a tied output layer
shares, and not the packed copy, which goes on computing with the old values.
"""


class Reload:
    """Methods that vLLM adds to its workers."""

    def grpo_reload_weights(self, weights_path):
        self.reload_weights(weights_path=weights_path)
        head = getattr(self.model_runner.get_model(), "lm_head", None)
        if head is None or self.device.type != "cpu":
            return
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        # With adapters the layer is wrapped.
        dispatch_cpu_unquantized_gemm(getattr(head, "base_layer", head), remove_weight=False)

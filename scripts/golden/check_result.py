"""Has other programs use what scripts/check-result.ts wrote, and compares their greedy tokens with those of grpo.

    python3 scripts/golden/check_result.py peft FOLDER
    python3 scripts/golden/check_result.py vllm FOLDER
    python3 scripts/golden/check_result.py gguf FOLDER --llama-cpp CHECKOUT [--pre NAME]

`peft` needs transformers and peft, `vllm` needs vllm: each takes the adapter on the base model, and the merged model.
`gguf` runs the converter of a checkout of llama.cpp on the merged model, in three types, and compares nothing; it needs
the packages of the converter. --pre names llama.cpp's splitting of text for a tokenizer that the converter does not know.
Prints a line of JSON for each; exit status 1 when a token differs.
"""

import argparse
import json
import runpy
import sys
from pathlib import Path

OUT_TYPES = ["f32", "bf16", "q8_0"]


def report(name, found, check):
    expected = check["completions"]
    equal = sum(a == b for a, b in zip(found, expected, strict=True))
    print(json.dumps({"name": name, "equal": equal, "of": len(expected)}), flush=True)
    return equal == len(expected)


def with_peft(folder, check):
    import torch
    from peft import AutoPeftModelForCausalLM, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def greedy(model):
        model.eval()
        options = {"max_new_tokens": check["maxNewTokens"], "do_sample": False}
        ids = [torch.tensor([prompt["ids"]]) for prompt in check["prompts"]]
        return [model.generate(input_ids=row, **options)[0, row.shape[1] :].tolist() for row in ids]

    good = True
    for name in ("adapter", "merged"):
        tokenizer = AutoTokenizer.from_pretrained(folder / name)
        ids = [tokenizer(prompt["text"], add_special_tokens=False)["input_ids"] for prompt in check["prompts"]]
        good &= ids == [prompt["ids"] for prompt in check["prompts"]]
    float32 = {"dtype": torch.float32}
    base = AutoModelForCausalLM.from_pretrained(check["base"], **float32)
    good &= report("PeftModel", greedy(PeftModel.from_pretrained(base, folder / "adapter")), check)
    auto = AutoPeftModelForCausalLM.from_pretrained(folder / "adapter", **float32)
    good &= report("AutoPeftModelForCausalLM", greedy(auto), check)
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged", **float32)
    return report("merged in transformers", greedy(merged), check) and good


def with_vllm(folder, check):
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    rank = json.loads((folder / "adapter/adapter_config.json").read_text())["r"]
    sampling = SamplingParams(temperature=0, max_tokens=check["maxNewTokens"])
    prompts = [{"prompt_token_ids": prompt["ids"]} for prompt in check["prompts"]]
    common = {"dtype": "float32", "enforce_eager": True, "max_model_len": 512, "max_num_seqs": 8}

    def greedy(model, **options):
        return [list(output.outputs[0].token_ids) for output in model.generate(prompts, sampling, **options)]

    merged = report("merged in vLLM", greedy(LLM(str(folder / "merged"), **common)), check)
    # The ranks that vLLM has.
    largest = min(size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank)
    model = LLM(check["base"], enable_lora=True, max_lora_rank=largest, **common)
    adapter = LoRARequest("adapter", 1, str(folder / "adapter"))
    return report("adapter in vLLM", greedy(model, lora_request=adapter), check) and merged


def to_gguf(folder, checkout, pre):
    sys.path[:0] = [str(checkout), str(checkout / "gguf-py")]
    if pre is not None:
        from conversion.base import TextModel

        TextModel.get_vocab_base_pre = lambda *_: pre
    converter = str(checkout / "convert_hf_to_gguf.py")
    for kind in OUT_TYPES:
        out = str(folder / f"merged-{kind}.gguf")
        sys.argv = [converter, str(folder / "merged"), "--outtype", kind, "--outfile", out]
        runpy.run_path(converter, run_name="__main__")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=["peft", "vllm", "gguf"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--llama-cpp", type=Path)
    parser.add_argument("--pre")
    args = parser.parse_args()
    if args.program == "gguf":
        return to_gguf(args.folder, args.llama_cpp, args.pre)
    check = json.loads((args.folder / "check.json").read_text())
    return {"peft": with_peft, "vllm": with_vllm}[args.program](args.folder, check)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)

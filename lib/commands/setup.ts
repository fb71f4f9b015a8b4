// `grpo setup`: the command line of setupLibtorch.
import { parseArgs } from "node:util";
import { GrpoError } from "../errors.js";
import { DEFAULT_TORCH_VERSION } from "../native/libtorch.js";
import { setupLibtorch } from "../setup/setup.js";
import type { Flavour } from "../setup/torch-wheels.js";
import type { Command } from "./command.js";

export const setupCommand: Command = {
  usage: `[--torch ${DEFAULT_TORCH_VERSION}] [--cuda | --flavour cu126] [--from <file or folder>]… [--index-url <url>] [--force]

  --torch      version to fetch (default ${DEFAULT_TORCH_VERSION})
  --cuda       the CUDA build of that version, with NVIDIA's libraries (3 GB, unpacked 4.3 GB); default: the CPU build (0.2 GB)
  --flavour    another build: cpu, cu126, cu130, …
  --from       use these wheels, this folder of wheels or this libtorch archive instead of downloading
  --index-url  package index to download from (default: pip's own settings, or PIP_INDEX_URL, or PyPI and PyTorch's index)
  --force      install again although that version is there

Downloads go through python3 -m pip where it is there. The cache is $GRPO_CACHE, else $XDG_CACHE_HOME/grpo, else ~/.cache/grpo.`,

  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        torch: { type: "string" },
        cuda: { type: "boolean" },
        flavour: { type: "string" },
        from: { type: "string", multiple: true },
        "index-url": { type: "string" },
        force: { type: "boolean" },
      },
    });
    const { torch, from, force, "index-url": indexUrl } = values;
    const started = Date.now();
    const libtorch = await setupLibtorch({
      ...(torch === undefined ? {} : { torch }),
      ...(from === undefined ? {} : { from }),
      ...(indexUrl === undefined ? {} : { indexUrl }),
      force: force ?? false,
      flavour: chooseFlavour(values),
      onProgress: (line) => console.error(line),
      onBytes: statusLine(),
    });
    const seconds = ((Date.now() - started) / 1000).toFixed(0);
    console.log(`libtorch ${libtorch.version}+${libtorch.flavour} is in ${libtorch.dir} (${seconds} s)`);
    return 0;
  },
};

function chooseFlavour({ cuda, flavour }: { cuda?: boolean; flavour?: string }): Flavour {
  if (cuda && process.platform !== "linux") {
    throw new GrpoError("BAD_OPTION", `--cuda: there is no CUDA libtorch for ${process.platform}`, {
      hint: "run `npx grpo setup` without it",
    });
  }
  if (flavour === undefined) return cuda ? "cuda" : "cpu";
  if (cuda || !isFlavour(flavour)) {
    const what = cuda ? "--cuda and --flavour were both given" : `--flavour is "${flavour}"`;
    throw new GrpoError("BAD_OPTION", `${what}; expected one of --cuda, --flavour cpu, --flavour cu126, …`);
  }
  return flavour;
}

function isFlavour(text: string): text is Flavour {
  return /^(cpu|cuda|cu\d+)$/.test(text);
}

/** One line on a terminal, rewritten a few times a second; nothing into files and pipes. */
function statusLine(): (name: string, done: number, total?: number) => void {
  if (!process.stderr.isTTY) return () => {};
  let shown = 0;
  return (name, done, total) => {
    if (Date.now() - shown < 200 && done !== total) return;
    shown = Date.now();
    const of = total === undefined ? "" : ` of ${(total / 1e6).toFixed(0)}`;
    process.stderr.write(`\r\x1b[2K${name}: ${(done / 1e6).toFixed(0)}${of} MB${done === total ? "\n" : "\r"}`);
  };
}

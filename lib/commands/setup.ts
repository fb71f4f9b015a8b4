// `grpo setup`: the command line of setupLibtorch.
import { parseArgs } from "node:util";
import { GrpoError } from "../errors.js";
import { defaultTorchVersion } from "../native/libtorch.js";
import { setupLibtorch } from "../native/libtorch-setup.js";
import type { Command } from "./command.js";

export const setupCommand: Command = {
  usage: `[--torch ${defaultTorchVersion}] [--from <wheel or archive>] [--force]

  --torch   version to fetch (default ${defaultTorchVersion}), CPU build, through python3 -m pip
  --from    use this torch wheel or libtorch archive instead of downloading one
  --force   install again although that version is there

The cache is $GRPO_CACHE, else $XDG_CACHE_HOME/grpo, else ~/.cache/grpo.`,

  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        torch: { type: "string" },
        from: { type: "string" },
        force: { type: "boolean" },
        cuda: { type: "boolean" },
      },
    });
    if (values.cuda) {
      throw new GrpoError("BAD_OPTION", "--cuda is not available yet: setup fetches the CPU build only", {
        hint: "install torch with CUDA by pip in a virtual environment and activate it, or set LIBTORCH to a CUDA libtorch",
      });
    }
    const started = Date.now();
    const { cuda: _, ...options } = values;
    const libtorch = await setupLibtorch({ ...options, onProgress: (line) => console.error(line) });
    const seconds = ((Date.now() - started) / 1000).toFixed(0);
    console.log(`libtorch ${libtorch.version}+${libtorch.flavour} is in ${libtorch.dir} (${seconds} s)`);
    return 0;
  },
};

#!/bin/bash
# What lies at the top of the kit (scripts/gpu-kit.ts): builds the core against Python's torch, or that of LIBTORCH, and runs the
# check (scripts/gpu-check.ts, which explains its options). Needs bash, CMake, make or Ninja, GCC 12 or later, and Python's torch.
#
#   ./run.sh --only build,machine,parity      # what should be looked at first
#   ./run.sh --device cpu --quick             # tries the kit without a GPU
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH="$PWD/bin:$PATH"
export LIBTORCH="${LIBTORCH:-$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))')}"
exec node node_modules/tsx/dist/cli.mjs scripts/gpu-check.ts --json "${OUT:-.}/gpu-check.json" "$@"

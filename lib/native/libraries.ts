// The libraries to open before a core, in order. A CUDA libtorch from wheels needs NVIDIA's libraries, which lie beside it
// and whose own search paths can be overruled by LD_LIBRARY_PATH; so they are opened first, by absolute path, in the order
// of Python's torch (`_preload_cuda_deps` in torch/__init__.py).
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Libtorch, sharedLibraryName } from "./libtorch.js";

export interface LibraryToOpen {
  readonly path: string;
  /** Its names are visible to everything that is opened later. */
  readonly global: boolean;
  /** A failure is no error: whoever needs the library says so. */
  readonly optional?: boolean;
}

/** Folder below nvidia/ before CUDA 13 (later all are in cu13) and name; libcublas would take the wrong libcublasLt. */
const CUDA_LIBRARIES: readonly (readonly [folder: string, library: string])[] = [
  ["cublas", "libcublasLt"],
  ["cublas", "libcublas"],
  ["cudnn", "libcudnn"],
  ["cuda_nvrtc", "libnvrtc"],
  ["cuda_nvrtc", "libnvrtc-builtins"],
  ["cuda_runtime", "libcudart"],
  ["cuda_cupti", "libcupti"],
  ["cufft", "libcufft"],
  ["curand", "libcurand"],
  ["nvjitlink", "libnvJitLink"],
  ["cusparse", "libcusparse"],
  ["cusparselt", "libcusparseLt"],
  ["cusolver", "libcusolver"],
  ["nccl", "libnccl"],
  ["nvshmem", "libnvshmem_host"],
  ["cufile", "libcufile"],
];

/** `core`: the file of the core, beside which lie the graphs of CUDA where they were built. */
export function librariesToOpen(libtorch: Libtorch, core: string): LibraryToOpen[] {
  // What Python's torch does as well: OpenMP (and CUDA) become global through this one empty library, libtorch stays local.
  const globalDeps = join(libtorch.dir, "lib", sharedLibraryName("torch_global_deps"));
  const torch = join(libtorch.dir, "lib", sharedLibraryName("torch"));
  return [
    ...nvidiaLibraries(libtorch).map((path) => ({ path, global: false, optional: true })),
    ...(existsSync(globalDeps) ? [{ path: globalDeps, global: true }] : []),
    { path: torch, global: false },
    ...cudaGraphs(libtorch, core),
  ];
}

/** What registers itself with libtorch as its graphs on CUDA, for recorded decode steps. Without it those run as others do. */
function cudaGraphs({ minor, flavour }: Libtorch, core: string): LibraryToOpen[] {
  const path = join(dirname(core), sharedLibraryName(`grpo-cuda-graphs-torch${minor}`));
  return flavour.startsWith("cu") && existsSync(path) ? [{ path, global: false, optional: true }] : [];
}

/** NVIDIA's libraries beside a libtorch from wheels, as far as they are there. */
function nvidiaLibraries({ dir, flavour }: Libtorch): string[] {
  const major = /^cu(\d+)\d$/.exec(flavour)?.[1];
  if (!major) return [];
  const nvidia = join(dirname(dir), "nvidia");
  return CUDA_LIBRARIES.flatMap(([folder, library]) => {
    const folders = [join(nvidia, folder, "lib"), join(nvidia, `cu${major}`, "lib")];
    return folders.flatMap((lib) => versioned(lib, library)).slice(0, 1);
  });
}

/** "libcudart.so.13" for "libcudart". */
function versioned(folder: string, library: string): string[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.startsWith(`${library}.so.`) && /\d$/.test(name));
  return names.sort().map((name) => join(folder, name));
}

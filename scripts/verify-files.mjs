// Looks into the prebuilt stub and cores: no search path of the machine that built them, nothing undefined beyond libtorch,
// libstdc++, libc and Node-API, one exported symbol, and the oldest glibc and libstdc++ that they run with. Linux only.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

const systemLibraries = /^(libc|libm|libdl|libpthread|libgcc_s|libstdc\+\+|libgomp|ld-linux-[\w-]+)\.so\.\d+$/;
const torchLibraries = /^lib(torch|torch_cpu|c10)\.so$/;

/** Throws on the first thing that is wrong; prints what the files need. */
export function checkFiles(folder, libtorchs, newestGlibc) {
  if (process.platform !== "linux") return console.log("files      are looked into on Linux only");
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    const isStub = name.endsWith(".node");
    checkDynamicSection(file, isStub);
    checkExports(file, isStub);
    const minor = /torch(\d+\.\d+)\.so$/.exec(name)?.[1];
    checkUndefined(file, isStub ? [] : symbolsOf(libtorchs.find((libtorch) => libtorch.minor === minor)));
    const needs = ["GLIBC", "GLIBCXX"].map((library) => newestVersion(file, library)).filter((version) => version);
    console.log(`${name.padEnd(30)} needs ${needs.join(", ")} or newer`);
    const glibc = newestVersion(file, "GLIBC").replace("GLIBC_", "");
    if (newestGlibc && glibc.localeCompare(newestGlibc, "en", { numeric: true }) > 0) {
      throw new Error(
        `${name} needs glibc ${glibc}, newer than ${newestGlibc}:\n${versionedBy(file, `GLIBC_${glibc}`)}`,
      );
    }
  }
}

function checkDynamicSection(file, isStub) {
  const text = tool("readelf", ["-d", file]);
  if (/\(R(UN)?PATH\)/.test(text)) throw new Error(`${file} has a search path:\n${text}`);
  for (const [, library] of text.matchAll(/\(NEEDED\).*\[(.+)\]/g)) {
    if (!systemLibraries.test(library) && (isStub || !torchLibraries.test(library))) {
      throw new Error(`${file} needs ${library}`);
    }
  }
}

function checkExports(file, isStub) {
  const exported = [...tool("nm", ["-D", "--defined-only", file]).matchAll(/ [A-Za-z] (\S+)$/gm)].map(
    ([, name]) => name,
  );
  const wanted = isStub ? ["napi_register_module_v1", "node_api_module_get_api_version_v1"] : ["grpo_core_init"];
  if (exported.sort().join() !== wanted.join()) throw new Error(`${file} exports ${exported.join(", ")}`);
}

/** Symbols without a version may come from Node, from libtorch or from OpenMP's runtime, or be weak. */
function checkUndefined(file, torchSymbols) {
  const known = new Set(torchSymbols);
  const missing = [...tool("nm", ["-D", "--undefined-only", file]).matchAll(/^\s+U (\S+)$/gm)]
    .map(([, name]) => name)
    .filter((name) => !/@/.test(name) && !/^(napi_|node_api_|GOMP_|omp_)/.test(name) && !known.has(name));
  if (missing.length > 0 && torchSymbols.length + Number(file.endsWith(".node")) > 0) {
    throw new Error(`${file} has undefined symbols:\n${missing.join("\n")}`);
  }
}

function symbolsOf(libtorch) {
  if (!libtorch) return [];
  return ["torch_cpu", "c10"].flatMap((name) => {
    const text = tool("nm", ["-D", "--defined-only", join(libtorch.dir, "lib", `lib${name}.so`)]);
    return [...text.matchAll(/ [A-Za-z] (\S+?)(?:@.*)?$/gm)].map(([, symbol]) => symbol);
  });
}

function newestVersion(file, library) {
  const versions = [...tool("objdump", ["-T", file]).matchAll(new RegExp(`\\b${library}_[\\d.]+`, "g"))].map(String);
  return versions.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1) ?? "";
}

function versionedBy(file, version) {
  return tool("objdump", ["-T", file])
    .split("\n")
    .filter((line) => line.includes(version))
    .join("\n");
}

function tool(program, args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", maxBuffer: 1 << 30 });
  if (error || status !== 0) throw new Error(`${program} ${args.join(" ")}: ${error?.message ?? stderr}`);
  return stdout;
}

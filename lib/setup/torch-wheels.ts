// Which wheels make a libtorch: torch itself and, for a CUDA build, those of NVIDIA's libraries that its METADATA names, and
// what these name in turn. Nothing else that torch needs in Python is needed here.
import { GrpoError } from "../errors.js";
import { markerHolds, markerValues, type Requirement, requirementsOf } from "./requirements.js";
import { readZipText } from "./unzip.js";
import type { WheelRequest } from "./wheel-source.js";

/** "cpu"; "cuda": the CUDA build that the plain version is; "cu126", …: that one, from PyTorch's own index. */
export type Flavour = "cpu" | "cuda" | `cu${number}`;

/**
 * What to ask for, in this order. On Linux the plain version on PyPI is the CUDA build; the others are asked for by their local
 * version, first where the user's pip looks anyway, then in PyTorch's own index. On macOS there is one build.
 */
export function torchRequests(
  version: string,
  flavour: Flavour,
  index?: string,
  platform: string = process.platform,
): WheelRequest[] {
  const own = index ? { index } : {};
  const plain = platform === "darwin" || flavour === "cuda";
  const requirement = plain ? `torch==${version}` : `torch==${version}+${flavour}`;
  const requests: WheelRequest[] = [{ requirement, ...own }];
  if (plain || index) return [...requests, { requirement, ...own, anyPython: true }];
  return [...requests, { requirement, index: `https://download.pytorch.org/whl/${flavour}`, anyPython: true }];
}

/** Brings the wheels that a torch wheel needs beside it, one after another; returns all of them. `fetch` gives a path. */
export async function nvidiaWheels(
  torchWheel: string,
  fetch: (requirement: string) => Promise<string>,
): Promise<string[]> {
  const wheels: string[] = [];
  // The first to name a package pins its version: torch and cuda-toolkit do, what comes after mostly does not.
  const queue = new Map<string, Requirement>();
  const add = (requirements: readonly Requirement[]) => {
    for (const requirement of requirements) {
      if (!queue.has(requirement.name)) queue.set(requirement.name, requirement);
    }
  };
  add(await needed(torchWheel, []));
  // A Map is iterated in order of insertion, with what is inserted meanwhile.
  for (const { name, specifier, extras } of queue.values()) {
    const wheel = await fetch(name + specifier);
    wheels.push(wheel);
    add(await needed(wheel, extras));
  }
  return wheels;
}

/** NVIDIA's packages among the requirements of a wheel on this machine. */
async function needed(wheel: string, extras: readonly string[]): Promise<Requirement[]> {
  const metadata = await readZipText(wheel, /^[^/]+\.dist-info\/METADATA$/);
  if (metadata === undefined) throw new GrpoError("SETUP_FAILED", `${wheel} has no METADATA: it is not a wheel`);
  const values = markerValues();
  return requirementsOf(metadata).filter(({ name, marker }) => {
    if (!/^(nvidia-|cuda-toolkit$)/.test(name)) return false;
    return marker === undefined || ["", ...extras].some((extra) => markerHolds(marker, { ...values, extra }));
  });
}

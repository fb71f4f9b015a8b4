// Which rank of which run this process is, as its launcher says it: torchrun and accelerate, Open MPI, MPICH, Intel MPI and MVAPICH,
// Slurm's srun, Kubeflow's training jobs, or variables set by hand. The first of each list that is set counts. Alone where none is.

import { GrpoError } from "../errors.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** Where a process stands among those that train together. */
export interface RankEnvironment {
  readonly rank: number;
  readonly size: number;
  /** Among the ranks of its host. */
  readonly localRank: number;
  /** Where rank 0, or the launcher, holds the store. */
  readonly host: string;
  readonly port: number;
  /** The launcher holds the store; else rank 0 does. */
  readonly served: boolean;
  /** How often the launcher has started the run anew. */
  readonly restarts: number;
  /** Interface to the other ranks; undefined: that of the way to the store. */
  readonly network: string | undefined;
}

const RANK = ["RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"];
const SIZE = ["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"];
const LOCAL_RANK = ["LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK"];
/** torch's own. */
const DEFAULT_PORT = 29500;

/** Undefined: the process trains alone. Throws BAD_CONFIG for variables that contradict each other. */
export function readRankEnvironment(env: Environment = process.env): RankEnvironment | undefined {
  const slurm = isSlurmTask(env);
  const size = readNumber(env, slurm ? [...SIZE, "SLURM_NTASKS"] : SIZE);
  if (size === undefined || size.value === 1) return undefined;
  const rank = readNumber(env, slurm ? [...RANK, "SLURM_PROCID"] : RANK);
  if (rank === undefined) {
    throw badEnvironment(`${size.name} is ${size.value}, and none of ${RANK.join(", ")} is set`);
  }
  if (rank.value >= size.value) {
    throw badEnvironment(`${rank.name} is ${rank.value}, and ${size.name} ${size.value}`);
  }
  const local = readNumber(env, slurm ? [...LOCAL_RANK, "SLURM_LOCALID"] : LOCAL_RANK);
  return {
    rank: rank.value,
    size: size.value,
    localRank: local?.value ?? 0,
    ...addressOf(env, slurm, local !== undefined),
    served: env.TORCHELASTIC_USE_AGENT_STORE === "True",
    restarts: readNumber(env, ["TORCHELASTIC_RESTART_COUNT"])?.value ?? 0,
    network: env.GLOO_SOCKET_IFNAME || undefined,
  };
}

/** How many ranks train together; 1: alone. */
export function worldSize(env: Environment = process.env): number {
  return readRankEnvironment(env)?.size ?? 1;
}

/** A script that sbatch runs has Slurm's variables too, and is one process: only srun makes steps. */
function isSlurmTask(env: Environment): boolean {
  return env.SLURM_STEP_ID !== undefined && Number(env.SLURM_NTASKS) > 1;
}

function addressOf(
  env: Environment,
  slurm: boolean,
  isLocal: boolean,
): { readonly host: string; readonly port: number } {
  const port = readNumber(env, ["MASTER_PORT"])?.value;
  const host = env.MASTER_ADDR || undefined;
  if (host !== undefined) return { host, port: port ?? DEFAULT_PORT };
  if (slurm) {
    // The ranks of a job agree on the port without a word; jobs that share a host have numbers of their own.
    const digits = Number((env.SLURM_JOB_ID ?? "0").slice(-4));
    return { host: firstHost(env.SLURM_JOB_NODELIST ?? "127.0.0.1"), port: port ?? 15_000 + digits };
  }
  if (isLocal || env.PMI_RANK !== undefined) return { host: "127.0.0.1", port: port ?? DEFAULT_PORT };
  throw badEnvironment("there are several ranks, and MASTER_ADDR is not set");
}

/** "gpu[03-05,9],login" → "gpu03". */
export function firstHost(nodes: string): string {
  const [, name = "", first = ""] = /^([^[,]*)(?:\[([^\],-]*))?/.exec(nodes) ?? [];
  return name + first;
}

function readNumber(
  env: Environment,
  names: readonly string[],
): { readonly name: string; readonly value: number } | undefined {
  const name = names.find((name) => env[name] !== undefined && env[name] !== "");
  if (name === undefined) return undefined;
  const value = Number(env[name]);
  if (Number.isSafeInteger(value) && value >= 0) return { name, value };
  throw badEnvironment(`expected a whole number in ${name}, found ${env[name]}`);
}

function badEnvironment(what: string): GrpoError {
  return new GrpoError("BAD_CONFIG", `the environment does not say which rank this process is: ${what}`, {
    hint: "start it with torchrun, srun, mpirun or grpo launch, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
  });
}

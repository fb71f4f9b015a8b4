import { describe, expect, it } from "vitest";
import { firstHost, readRankEnvironment } from "../../lib/distributed/environment.js";
import { partOf } from "../../lib/distributed/ranks.js";

const torchrun = {
  RANK: "3",
  LOCAL_RANK: "1",
  WORLD_SIZE: "4",
  MASTER_ADDR: "gpu01",
  MASTER_PORT: "29400",
  TORCHELASTIC_USE_AGENT_STORE: "True",
  TORCHELASTIC_RESTART_COUNT: "2",
};
const slurm = {
  SLURM_STEP_ID: "0",
  SLURM_PROCID: "5",
  SLURM_NTASKS: "8",
  SLURM_LOCALID: "1",
  SLURM_JOB_ID: "4711234",
  SLURM_JOB_NODELIST: "gpu[03-05,9]",
};

describe("which rank a process is", () => {
  it("is none without a launcher, or where there is one rank", () => {
    expect(readRankEnvironment({})).toBeUndefined();
    expect(readRankEnvironment({ RANK: "0", WORLD_SIZE: "1", MASTER_ADDR: "a" })).toBeUndefined();
  });

  it.each([
    ["torchrun", torchrun, { rank: 3, size: 4, localRank: 1, host: "gpu01", port: 29400, served: true, restarts: 2 }],
    [
      "Kubeflow, which tells no local rank",
      { RANK: "1", WORLD_SIZE: "2", MASTER_ADDR: "job-master-0", MASTER_PORT: "23456" },
      { rank: 1, size: 2, localRank: 0, host: "job-master-0", port: 23456, served: false, restarts: 0 },
    ],
    [
      "Open MPI",
      { OMPI_COMM_WORLD_RANK: "1", OMPI_COMM_WORLD_SIZE: "2", OMPI_COMM_WORLD_LOCAL_RANK: "1" },
      { rank: 1, size: 2, localRank: 1, host: "127.0.0.1", port: 29500 },
    ],
    [
      "MPICH and Intel MPI",
      { PMI_RANK: "2", PMI_SIZE: "3", MPI_LOCALRANKID: "2", MASTER_ADDR: "n1" },
      { rank: 2, size: 3, localRank: 2, host: "n1", port: 29500 },
    ],
    [
      "MVAPICH",
      { MV2_COMM_WORLD_RANK: "0", MV2_COMM_WORLD_SIZE: "2", MV2_COMM_WORLD_LOCAL_RANK: "0" },
      { rank: 0, size: 2, localRank: 0, host: "127.0.0.1" },
    ],
    ["srun", slurm, { rank: 5, size: 8, localRank: 1, host: "gpu03", port: 16234 }],
    ["srun with an address", { ...slurm, MASTER_ADDR: "n7", MASTER_PORT: "5000" }, { host: "n7", port: 5000 }],
    ["torchrun within a Slurm job", { ...slurm, ...torchrun }, { rank: 3, size: 4, localRank: 1, host: "gpu01" }],
  ])("is read from %s", (_, env, expected) => {
    expect(readRankEnvironment(env)).toMatchObject(expected);
  });

  it("is none for the script of sbatch, which is one process", () => {
    const { SLURM_STEP_ID: _, ...script } = slurm;
    expect(readRankEnvironment(script)).toBeUndefined();
  });

  it("takes the interface that Gloo's own variable names", () => {
    expect(readRankEnvironment({ ...torchrun, GLOO_SOCKET_IFNAME: "ib0" })?.network).toBe("ib0");
  });

  it.each([
    ["no rank", { WORLD_SIZE: "2", MASTER_ADDR: "a" }, "WORLD_SIZE is 2, and none of RANK"],
    ["a rank beyond the ranks", { RANK: "2", WORLD_SIZE: "2", MASTER_ADDR: "a" }, "RANK is 2, and WORLD_SIZE 2"],
    ["no number", { RANK: "one", WORLD_SIZE: "2" }, "expected a whole number in RANK, found one"],
    ["no address", { RANK: "1", WORLD_SIZE: "2" }, "MASTER_ADDR is not set"],
  ])("is refused with %s", (_, env, message) => {
    expect(() => readRankEnvironment(env)).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
    expect(() => readRankEnvironment(env)).toThrow(message);
  });
});

it.each([
  ["gpu[03-05,9]", "gpu03"],
  ["gpu7", "gpu7"],
  ["a,b", "a"],
  ["rack1-[2,4]", "rack1-2"],
])("takes the first host of %s", (nodes, first) => {
  expect(firstHost(nodes)).toBe(first);
});

it.each([
  [6, 4],
  [3, 4],
  [0, 2],
  [7, 1],
])("cuts %i items for %i ranks into parts that are all of them", (count, size) => {
  const parts = Array.from({ length: size }, (_, rank) => partOf({ rank, size }, count));
  expect(parts.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))).toEqual(
    Array.from({ length: count }, (_, i) => i),
  );
});

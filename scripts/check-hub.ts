// The notebook of the guide against a Hub on this machine, and then Python's own libraries on what it pushed there:
//
//   npx tsx scripts/check-hub.ts --python .venv/bin/python      # a Python with scripts/golden/requirements.txt and datasets
//   npx tsx scripts/check-hub.ts --no-xet …                     # large files by LFS and plain HTTP

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { resolveModelFiles } from "../lib/hub/hub.js";
import { HubServer } from "../test/support/hub-server.js";
import { DATA, MODEL, PUSHED, runNotebook, serveNotebook } from "../test/support/notebook.js";

const { values } = parseArgs({
  options: { python: { type: "string", default: "python3" }, "no-xet": { type: "boolean", default: false } },
});

/** What the notebook does not show: a run that uploads by itself, and a card about it. */
const MORE = `
await trainer.pushToHub({ repo: "your-username/with-card", datasetName: "${DATA}" });
const second = new GRPOConfig({
  outputDir: "second", maxSteps: 2, saveSteps: 1, loggingSteps: 1, perDeviceTrainBatchSize: 8, maxCompletionLength: 16,
  pushToHub: true, hubModelId: "your-username/checkpoints", hubStrategy: "all_checkpoints", hubAlwaysPush: true,
  logCompletionsHubRepo: "your-username/completions",
});
await new GRPOTrainer({
  model, processingClass: tokenizer, args: second, rewardFuncs: formatReward, trainDataset: withPrompt(train),
}).train();
await (await CausalLM.fromPretrained(modelId)).pushToHub("your-username/whole");
`;

const folder = await mkdtemp(path.join(tmpdir(), "grpo-check-hub-"));
const hub = new HubServer();
await hub.start();
try {
  hub.xet = !values["no-xet"];
  await serveNotebook(hub);
  const { stdout } = await runNotebook(hub, folder, MORE);
  console.log(stdout);
  for (const { repo, branch, summary, files } of hub.commits) {
    console.log(`${repo}@${branch}  "${summary}"  ${Object.keys(files).join(", ")}`);
  }
  hub.requests.length = 0;
  process.exitCode = await check();
  const chunks = hub.requests.filter((line) => line.includes("/reconstructions/")).length;
  console.log(`${hub.requests.length} requests by Python, ${chunks} of them for files in chunks (Xet)`);
  await readPythonsCache();
} finally {
  await hub.stop();
  await rm(folder, { recursive: true, force: true });
}

/** The other way round: what Python fetched is found here without the network. */
async function readPythonsCache(): Promise<void> {
  Object.assign(process.env, { HF_HUB_OFFLINE: "1", HF_HOME: path.join(folder, "python") });
  const { files } = await resolveModelFiles(PUSHED);
  console.log(`${PUSHED}, out of the cache that was filled from Python: ${files.join(", ")}`);
}

async function check(): Promise<number> {
  const script = fileURLToPath(new URL("golden/check_hub.py", import.meta.url));
  const repos = {
    run: "your-username/with-card",
    checkpoints: "your-username/checkpoints",
    whole: "your-username/whole",
  };
  const options = { model: MODEL, data: DATA, adapter: PUSHED, ...repos, completions: "your-username/completions" };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const [local, cache] = [path.join(folder, "qwen2-0.5b-grpo-math"), path.join(folder, "home", "hub")];
  const env = {
    ...process.env,
    HF_ENDPOINT: hub.url,
    HF_HOME: path.join(folder, "python"),
    HF_TOKEN: hub.token,
    OMP_NUM_THREADS: "1",
    ...(values["no-xet"] ? { HF_HUB_DISABLE_XET: "1" } : {}),
  };
  const child = spawn(values.python, [script, ...args, "--local", local, "--cache", cache], { env, stdio: "inherit" });
  return new Promise((done) => child.on("exit", (code) => done(code ?? 1)));
}

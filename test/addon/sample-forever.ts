// Runs in a worker thread or a process of its own: loads the engine, computes, says so, and then samples for longer than anyone
// waits, so that the other side can end it in the middle. The argument or worker data "finish" leaves the sampling out, "idle"
// the disposal too, "exit" ends the process with code 7 in the middle of the sampling, "throw" throws there.

import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { tinyQwen2 } from "./golden.js";

const wish: unknown = isMainThread ? process.argv[2] : workerData;
const model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE, threads: 1 });
const [logits] = await model.forward([[1, 2, 3]]);
parentPort?.postMessage(logits);

if (wish === "finish") {
  model.dispose();
} else if (wish !== "idle") {
  // So hot that completions are hundreds of tokens long, and a minute of them.
  const prompts = Array.from({ length: 2000 }, (_, i) => [1 + (i % 400)]);
  let first = true;
  await model.sample(prompts, {
    groupSize: 1,
    maxNewTokens: 1000,
    temperature: 10,
    maxRows: 16,
    onGroup: () => {
      if (!first) return;
      first = false;
      parentPort?.postMessage("sampling");
      if (wish === "exit") process.exit(7);
      if (wish === "throw") throw new Error("thrown by a callback");
    },
  });
}

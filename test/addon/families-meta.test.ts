// Every family on the meta device, whose tensors have no data: prefill, decoding, log-probabilities and backward read nothing
// back on the side, whatever switches the family has.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readModelConfig } from "../../lib/model/families/families.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { goldenPath } from "./golden.js";
import { adapterOf, BATCH, everyLayer, LOSS, REQUEST } from "./raw-engine.js";

const { rows }: { rows: { name: string }[] } = JSON.parse(readFileSync(goldenPath("families.json"), "utf8"));

describe("on device meta", () => {
  it.each(rows)("$name reads back once a token, once a batch", async ({ name }) => {
    const json = JSON.parse(readFileSync(goldenPath(`models/family-${name}/config.json`), "utf8"));
    const config = readModelConfig(json).native;
    const { Engine } = loadCore();
    const engine = new Engine({ config, device: "meta", dtype: "float32", threads: 1 });
    try {
      await engine.initModel(1);
      await engine.addAdapter("default", adapterOf(config, { targets: everyLayer(config, 2, 1), dropout: 0.1 }));
      const syncsOf = async (job: () => Promise<unknown>): Promise<number> => {
        const before = engine.syncs();
        await job();
        return engine.syncs() - before;
      };
      expect(await syncsOf(() => engine.sample(REQUEST, () => {}))).toBe(REQUEST.maxNewTokens);
      expect(await syncsOf(() => engine.logprobs(BATCH, 1))).toBe(1);
      const batch = { ...BATCH, advantages: Float32Array.from([1, -1, 0.5, 2, -2]) };
      expect(await syncsOf(() => engine.forwardBackward(batch, { ...LOSS, beta: 0 }))).toBe(1);
    } finally {
      engine.dispose();
    }
  });
});

// Whether a download fits: only what is still missing needs room.

import { mkdir, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeEach, expect, it, vi } from "vitest";
import { resolveModelFiles } from "../../lib/hub/hub.js";
import { sha256 } from "../support/hub-repos.js";
import { useHub } from "../support/use-hub.js";

const free = vi.hoisted(() => ({ bytes: 0 }));
vi.mock("node:fs/promises", async (load) => ({
  ...(await load<typeof import("node:fs/promises")>()),
  statfs: async () => ({ bavail: free.bytes, bsize: 1 }),
}));

const WEIGHTS = Buffer.alloc(3_000_000, 7);
const at = useHub();
let blob: string;

beforeEach(async () => {
  at.hub.add("org/tiny", { files: { "model.safetensors": WEIGHTS }, large: ["model.safetensors"] });
  const blobs = path.join(at.home, "hub/models--org--tiny/blobs");
  await mkdir(blobs, { recursive: true });
  blob = path.join(blobs, sha256(WEIGHTS));
});

it("refuses what does not fit, and names both sizes", async () => {
  free.bytes = 2_999_999;
  await expect(resolveModelFiles("org/tiny")).rejects.toThrow("3 MB are needed, 2 MB are free");
  free.bytes = 3_000_000;
  await expect(resolveModelFiles("org/tiny")).resolves.toBeDefined();
});

it("needs no room for a file of another revision, and little for the rest of one", async () => {
  free.bytes = 10;
  await writeFile(`${blob}.grpo.incomplete`, WEIGHTS.subarray(0, WEIGHTS.length - 10));
  await expect(resolveModelFiles("org/tiny")).resolves.toBeDefined();
  free.bytes = 0;
  const other = path.join(at.home, "hub/models--org--tiny/refs");
  await mkdir(other, { recursive: true });
  at.hub.add("org/tiny", { files: { "model.safetensors": WEIGHTS, "new.json": "" }, large: ["model.safetensors"] });
  await expect(resolveModelFiles("org/tiny", { revision: at.hub.commitOf("org/tiny") })).resolves.toBeDefined();
});

it("counts a blob of the wrong size as missing", async () => {
  await writeFile(blob, WEIGHTS);
  await truncate(blob, 100);
  free.bytes = 100;
  await expect(resolveModelFiles("org/tiny")).rejects.toThrow("are needed");
});

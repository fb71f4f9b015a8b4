// Uploading: what arrives, what is made on the way, and that no failure leaves half of it.

import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { resolveModelFiles } from "../../lib/hub/hub.js";
import { pushFolder } from "../../lib/hub/push.js";
import type { Fault } from "../support/hub-server.js";
import { useHub } from "../support/use-hub.js";

// Pauses between attempts take a hundredth of their time.
vi.mock("node:timers/promises", async (load) => {
  const timers = await load<typeof import("node:timers/promises")>();
  return { ...timers, setTimeout: (ms: number, ...rest: []) => timers.setTimeout(ms / 100, ...rest) };
});

const WEIGHTS = Buffer.from(Array.from({ length: 10_000 }, (_, i) => (i * 7919) % 251));
const at = useHub();
let folder: string;

beforeEach(async () => {
  folder = path.join(at.home, "out");
  await mkdir(path.join(folder, "logs"), { recursive: true });
  await writeFile(path.join(folder, "adapter_config.json"), "{}");
  await writeFile(path.join(folder, "adapter_model.safetensors"), WEIGHTS);
  await writeFile(path.join(folder, "logs", "empty.txt"), "");
  // Never to be uploaded.
  await writeFile(path.join(folder, ".env"), "SECRET=1");
  vi.stubEnv("HF_TOKEN", at.hub.token);
});

describe("a push", () => {
  it.each([true, false])("makes the repository and commits every file at once (Xet: %s)", async (xet) => {
    at.hub.xet = xet;
    const url = await pushFolder("ada/new", folder, { private: true, commitMessage: "Upload adapter" });
    expect(url).toBe(`${at.hub.url}/ada/new/commit/${at.hub.commitOf("ada/new")}`);
    expect(at.hub.created).toEqual(["ada/new private"]);
    expect(at.hub.commits.map(({ summary }) => summary)).toEqual(["Upload adapter"]);
    const files = at.hub.filesOf("ada/new");
    expect([...files.keys()].sort()).toEqual([
      ".gitattributes",
      "adapter_config.json",
      "adapter_model.safetensors",
      "logs/empty.txt",
    ]);
    expect(WEIGHTS.equals(files.get("adapter_model.safetensors") ?? Buffer.alloc(0))).toBe(true);
    expect(at.hub.leakedTokens).toEqual([]);
  });

  it("goes to the account of the token when only a name is given, and to data sets", async () => {
    await pushFolder("logs", folder, { type: "dataset" });
    expect(at.hub.filesOf("ada/logs", "dataset").has("adapter_config.json")).toBe(true);
  });

  it("adds to a repository that is there, on a branch made for it, and leaves out what it is told to", async () => {
    at.hub.add("ada/old", { files: { "README.md": "mine", "a.txt": "a" } });
    await writeFile(path.join(folder, "README.md"), "generated");
    const ignorePatterns = ["logs/**"];
    await pushFolder("ada/old", folder, { branch: "v2", ignorePatterns, keepExisting: ["README.md"] });
    expect(at.hub.created).toEqual([]);
    expect([...at.hub.filesOf("ada/old", "model", "v2").keys()].sort()).toEqual([
      "README.md",
      "a.txt",
      "adapter_config.json",
      "adapter_model.safetensors",
    ]);
    expect(at.hub.filesOf("ada/old", "model", "v2").get("README.md")?.toString()).toBe("mine");
    expect([...at.hub.filesOf("ada/old").keys()]).toEqual(["README.md", "a.txt"]);
  });

  it("is seen by the same run afterwards", async () => {
    at.hub.add("ada/old", { files: { "config.json": "old" } });
    await resolveModelFiles("ada/old");
    await writeFile(path.join(folder, "config.json"), "new");
    await pushFolder("ada/old", folder);
    expect((await resolveModelFiles("ada/old")).folder).toContain(at.hub.commitOf("ada/old"));
  });

  it("says what it needs", async () => {
    const empty = path.join(at.home, "empty");
    await mkdir(empty);
    await expect(pushFolder("ada/x", empty)).rejects.toThrow("has no files");
    await expect(pushFolder("ada/x", folder, { privat: true } as object)).rejects.toThrow("did you mean private?");
    await expect(pushFolder("ada/x", folder, { private: "yes" } as object)).rejects.toThrow(
      "private must be true or false",
    );
    at.hub.add("other/x", { files: { "a.txt": "a" } });
    await expect(pushFolder("other/x", folder)).rejects.toThrow(
      /not let this token write to the model "other\/x" \(HTTP 403\); the Hub says: You don't have the rights to write.*\n.*write access on/,
    );
    vi.stubEnv("HF_TOKEN", "");
    await expect(pushFolder("ada/x", folder)).rejects.toThrow("needs a token with write access");
    expect(at.hub.commits).toEqual([]);
  });

  it("waits before it tries again for as long as the Hub asks, and passes on what the Hub says", async () => {
    at.hub.refusalHeaders.set("retry-after", "15");
    at.hub.refusalHeaders.set("x-error-message", `Too many commits by ${at.hub.token}`);
    at.hub.fault = (line) => (/\/commit\//.test(line) ? 429 : undefined);
    const began = performance.now();
    const message = await pushFolder("ada/new", folder).then(String, String);
    expect(message).toContain("the Hub says: Too many commits by ***");
    // Three pauses of 15 s, a hundred times as fast.
    expect(performance.now() - began).toBeGreaterThan(440);
    expect(at.hub.requests.filter((line) => /\/commit\//.test(line))).toHaveLength(4);
  });

  it("takes a second try when someone else commits in between", async () => {
    at.hub.add("ada/old", { files: { "a.txt": "a" } });
    let once = true;
    at.hub.fault = (line) => {
      if (once && line.includes("/preupload/")) {
        once = false;
        at.hub.commitFile("ada/old", "b.txt", "b");
      }
      return undefined;
    };
    await pushFolder("ada/old", folder);
    expect([...at.hub.filesOf("ada/old").keys()].sort()).toContain("b.txt");
    expect(at.hub.filesOf("ada/old").has("adapter_model.safetensors")).toBe(true);
  });
});

/** Every request that a push makes, in order. */
const STEPS = ["revision", "create", "revision", "preupload", "batch", "xorbs", "shards", "commit"] as const;

describe("a push that is interrupted", () => {
  /** Pushes onto a repository with one file, the fault being at request `index`, and from then on if `lasting`. */
  async function interrupted(index: number, fault: Fault, lasting: boolean): Promise<string> {
    at.hub.add("ada/old", { files: { "adapter_config.json": "old" } });
    let count = 0;
    at.hub.fault = () => {
      const here = count++;
      return here === index || (lasting && here > index) ? fault : undefined;
    };
    const outcome = await pushFolder("ada/old", folder).then(String, (thrown: Error) => thrown.message);
    at.hub.fault = undefined;
    return outcome;
  }

  function state(): "old" | "new" | "half" {
    const files = at.hub.filesOf("ada/old");
    if (files.size === 1 && files.get("adapter_config.json")?.toString() === "old") return "old";
    const whole = files.size === 3 && WEIGHTS.equals(files.get("adapter_model.safetensors") ?? Buffer.alloc(0));
    return whole && files.get("adapter_config.json")?.toString() === "{}" ? "new" : "half";
  }

  it("makes as many requests as the tests below interrupt", async () => {
    await pushFolder("ada/new", folder);
    const asked = at.hub.requests.filter((line) => !line.includes("/v1/chunks/"));
    expect(asked).toHaveLength(STEPS.length);
    for (const [index, step] of STEPS.entries()) expect(asked[index]).toContain(step);
  });

  const requests = Array.from({ length: STEPS.length }, (_, index) => index);
  const faults = ["cut", "cut after", 500] as const;

  it.each(requests.flatMap((index) => faults.map((fault) => [index, fault] as const)))(
    "once, at request %i (%s), arrives all the same, and once",
    async (index, fault) => {
      const outcome = await interrupted(index, fault, false);
      expect(outcome).toMatch(/^http.*\/commit\//);
      expect(state()).toBe("new");
      expect(at.hub.commits).toHaveLength(1);
    },
  );

  it.each(requests.flatMap((index) => faults.map((fault) => [index, fault] as const)))(
    "for good, from request %i on (%s), leaves old or new and says which",
    async (index, fault) => {
      const outcome = await interrupted(index, fault, true);
      expect(["old", "new"]).toContain(state());
      if (outcome.startsWith("http")) expect(state()).toBe("new");
      else if (/either all of the files or, at [0-9a-f]{40}, none/.test(outcome))
        expect(outcome).toContain("/commits/");
      else {
        expect(outcome).toMatch(
          /nothing was uploaded|the repository is unchanged, at commit [0-9a-f]{40}|has none of the files/,
        );
        expect(state()).toBe("old");
      }
      expect(outcome).not.toContain(at.hub.token);
    },
  );
});

// Before every test of a file: a fresh Hub, an empty home for cache and token, and an environment that names no other.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, vi } from "vitest";
import { HubServer } from "./hub-server.js";

export interface HubForTests {
  hub: HubServer;
  home: string;
}

/** What the Hub's settings and a machine's own may say; none of it may reach a test. */
export const HUB_VARIABLES: readonly string[] = [
  "HF_TOKEN",
  "HUGGING_FACE_HUB_TOKEN",
  "HF_TOKEN_PATH",
  "HF_HUB_DISABLE_IMPLICIT_TOKEN",
  "HF_HUB_CACHE",
  "HUGGINGFACE_HUB_CACHE",
  "HF_HUB_OFFLINE",
  "TRANSFORMERS_OFFLINE",
  "HF_DATASETS_OFFLINE",
  "HF_HUB_DISABLE_XET",
  "HF_HUB_DISABLE_SYMLINKS",
  "HF_HUB_DOWNLOAD_TIMEOUT",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "ALL_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "all_proxy",
  "no_proxy",
];

export function useHub(): HubForTests {
  const current = {} as HubForTests;
  beforeEach(async () => {
    current.home = await mkdtemp(path.join(tmpdir(), "grpo-hub-"));
    current.hub = new HubServer();
    await current.hub.start();
    vi.stubEnv("HF_ENDPOINT", current.hub.url);
    vi.stubEnv("HF_HOME", current.home);
    for (const name of HUB_VARIABLES) vi.stubEnv(name, "");
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
    await current.hub.stop();
    await rm(current.home, { recursive: true, force: true });
  });
  return current;
}

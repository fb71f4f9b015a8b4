// Logging in against a Hub on this machine: where the token goes, and what a bad one says.

import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { loginCommand } from "../../lib/commands/login.js";
import { findToken } from "../../lib/hub/hub-env.js";
import { login, logout, whoami } from "../../lib/hub/login.js";
import { HubServer } from "../support/hub-server.js";

let hub: HubServer;
let home: string;

beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), "grpo-login-"));
  hub = new HubServer();
  await hub.start();
  vi.stubEnv("HF_ENDPOINT", hub.url);
  vi.stubEnv("HF_HOME", path.join(home, "new"));
  for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"]) vi.stubEnv(name, "");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await hub.stop();
  await rm(home, { recursive: true, force: true });
});

it("saves a token that the Hub accepts, readable by its owner only, and forgets it on logout", async () => {
  expect(await login({ token: ` ${hub.token}\n` })).toEqual({ name: "ada", organizations: ["lovelace"] });
  const file = path.join(home, "new", "token");
  expect(await readFile(file, "utf8")).toBe(hub.token);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(findToken()).toBe(hub.token);
  expect((await whoami()).name).toBe("ada");
  await logout();
  expect(findToken()).toBeUndefined();
  await expect(whoami()).rejects.toThrow("Not logged in");
});

it("keeps the old token when the new one is refused, and shows neither", async () => {
  vi.stubEnv("HF_TOKEN_PATH", path.join(home, "own-place"));
  await writeFile(path.join(home, "own-place"), "hf_old");
  const failure = await login({ token: "hf_wrong" }).catch(String);
  expect(failure).toContain("did not accept the token (HTTP 401)");
  expect(failure).not.toContain("hf_wrong");
  expect(findToken()).toBe("hf_old");
  await expect(login({ token: "  " })).rejects.toMatchObject({ code: "BAD_OPTION" });
});

it("prefers HF_TOKEN to the saved token", async () => {
  await login({ token: hub.token });
  vi.stubEnv("HF_TOKEN", "hf_other");
  expect(findToken()).toBe("hf_other");
});

it("logs in from the command line", async () => {
  const print = vi.spyOn(console, "log").mockImplementation(() => {});
  expect(await loginCommand.run(["--token", hub.token])).toBe(0);
  expect(print.mock.calls.join()).toBe(`Logged in as ada; the token is in ${path.join(home, "new", "token")}.`);
});

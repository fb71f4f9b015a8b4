// Logging in against a Hub on this machine: where the token goes, and what a bad one says.

import { readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeEach, expect, it, vi } from "vitest";
import { loginCommand } from "../../lib/commands/login.js";
import { logoutCommand } from "../../lib/commands/logout.js";
import { whoamiCommand } from "../../lib/commands/whoami.js";
import { redacted } from "../../lib/hub/hub-client.js";
import { findToken } from "../../lib/hub/hub-env.js";
import { login, logout, whoami } from "../../lib/hub/login.js";
import { useHub } from "../support/use-hub.js";

const at = useHub();

beforeEach(() => vi.stubEnv("HF_HOME", path.join(at.home, "new")));

it("saves a token that the Hub accepts, readable by its owner only, and forgets it on logout", async () => {
  expect(await login({ token: ` ${at.hub.token}\n` })).toEqual({ name: "ada", organizations: ["lovelace"] });
  const file = path.join(at.home, "new", "token");
  expect(await readFile(file, "utf8")).toBe(at.hub.token);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(findToken()).toBe(at.hub.token);
  expect((await whoami()).name).toBe("ada");
  await logout();
  expect(findToken()).toBeUndefined();
  await expect(whoami()).rejects.toThrow("not logged in");
});

it("keeps the old token when the new one is refused, and shows neither", async () => {
  vi.stubEnv("HF_TOKEN_PATH", path.join(at.home, "own-place"));
  await writeFile(path.join(at.home, "own-place"), "hf_old");
  const failure = await login({ token: "hf_wrong" }).catch(String);
  expect(failure).toContain("did not accept the token (HTTP 401)");
  expect(failure).not.toContain("hf_wrong");
  expect(findToken()).toBe("hf_old");
  await expect(login({ token: "  " })).rejects.toMatchObject({ code: "BAD_OPTION" });
});

it("prefers HF_TOKEN to the saved token", async () => {
  await login({ token: at.hub.token });
  vi.stubEnv("HF_TOKEN", "hf_other");
  expect(findToken()).toBe("hf_other");
});

it("logs in from the command line", async () => {
  const print = vi.spyOn(console, "log").mockImplementation(() => {});
  expect(await loginCommand.run(["--token", at.hub.token])).toBe(0);
  expect(print.mock.calls.join()).toBe(`Logged in as ada; the token is in ${path.join(at.home, "new", "token")}.`);
});

it("shows the account and forgets the token from the command line", async () => {
  const print = vi.spyOn(console, "log").mockImplementation(() => {});
  await login({ token: at.hub.token });
  expect(await whoamiCommand.run([])).toBe(0);
  expect(await logoutCommand.run([])).toBe(0);
  const file = path.join(at.home, "new", "token");
  expect(print.mock.calls.flat()).toEqual(["ada", "organizations: lovelace", `There is no token in ${file} any more.`]);
  await expect(whoamiCommand.run([])).rejects.toThrow("not logged in");
  await expect(whoamiCommand.run(["--all"])).rejects.toThrow("--all");
});

it("says that a token of the environment stays in force", async () => {
  const print = vi.spyOn(console, "log").mockImplementation(() => {});
  vi.stubEnv("HF_TOKEN", at.hub.token);
  await logoutCommand.run([]);
  expect(print.mock.calls.flat().at(-1)).toContain("HF_TOKEN is still set");
});

it("forgets the token where Python keeps several, and leaves the others", async () => {
  await login({ token: at.hub.token });
  const stored = path.join(at.home, "new", "stored_tokens");
  await writeFile(stored, `[other]\nhf_token = hf_other\n\n[mine]\nhf_token = ${at.hub.token}\nexpires_at = 5\n\n`);
  await logout();
  expect(await readFile(stored, "utf8")).toBe("[other]\nhf_token = hf_other\n\n");
  expect((await stat(stored)).mode & 0o777).toBe(0o600);
});

it("uses no saved token where Python would not", async () => {
  await login({ token: at.hub.token });
  vi.stubEnv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
  expect(findToken()).toBeUndefined();
});

it("asks nothing of the network with HF_HUB_OFFLINE", async () => {
  vi.stubEnv("HF_HUB_OFFLINE", "1");
  await expect(whoami({ token: at.hub.token })).rejects.toThrow("HF_HUB_OFFLINE is set");
  expect(at.hub.requests).toEqual([]);
});

it("takes what grants access out of messages", () => {
  const text = "PUT https://me:pass@s3.host/bucket/key?X-Amz-Signature=abc&x=1 failed for hf_abcDEF123, Bearer xyz.abc";
  expect(redacted(text)).toBe("PUT https://s3.host/bucket/key failed for ***, ***");
});

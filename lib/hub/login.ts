// Logging in to the Hub: the token is checked, then saved in the file that Python's huggingface_hub reads as well.

import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { checkOptionNames } from "../checks.js";
import { GrpoError } from "../errors.js";
import { asHubError, createHubClient } from "./hub-client.js";
import { findToken, tokenPath } from "./hub-env.js";

/** The owner of a token. */
export interface Account {
  readonly name: string;
  readonly organizations: readonly string[];
}

/** Saves a token for later runs, after the Hub has accepted it. */
export async function login(options: { readonly token: string }): Promise<Account> {
  checkOptionNames("login", options, ["token"]);
  const token = typeof options.token === "string" ? options.token.trim() : "";
  if (token === "" || /\s/.test(token)) throw new GrpoError("BAD_OPTION", "login() needs { token }, one word");
  const account = await whoami({ token });
  await writeSecret(tokenPath(), token);
  return account;
}

/** Forgets the saved token, also where Python keeps the tokens it can switch between. One in HF_TOKEN stays in force. */
export async function logout(): Promise<void> {
  const file = tokenPath();
  const token = (await readFile(file, "utf8").catch(() => "")).trim();
  await rm(file, { force: true });
  const stored = path.join(path.dirname(file), "stored_tokens");
  const text = await readFile(stored, "utf8").catch(() => undefined);
  if (text === undefined || token === "") return;
  // An INI file, a section for each token.
  const sections = text.split(/^(?=\[)/m);
  const kept = sections.filter((section) => !section.split(/\s+/).includes(token));
  if (kept.length < sections.length) await writeSecret(stored, kept.join(""));
}

/** The account of the given token, or of the one that is in force. */
export async function whoami(options: { readonly token?: string } = {}): Promise<Account> {
  checkOptionNames("whoami", options, ["token"]);
  const token = options.token ?? findToken();
  if (token === undefined) {
    throw new GrpoError("HUB_ERROR", "not logged in to the Hub", { hint: "run `grpo login`, or set HF_TOKEN" });
  }
  const client = createHubClient(undefined, token);
  try {
    const { whoAmI } = await import("@huggingface/hub");
    const answer = await whoAmI({ hubUrl: client.url, fetch: client.fetch, accessToken: "" });
    return { name: answer.name, organizations: answer.type === "user" ? answer.orgs.map((org) => org.name) : [] };
  } catch (thrown) {
    throw asHubError("asking the Hub for the account failed", thrown);
  }
}

/** Readable by its owner only, from the first byte on; the mode of an existing file would stay, so it is replaced. */
async function writeSecret(file: string, content: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${randomUUID()}`;
  await writeFile(temporary, content, { mode: 0o600, flag: "wx" });
  await rename(temporary, file);
}

// Logging in to the Hub: the token is checked, then saved in the file that Python's huggingface_hub reads as well.

import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { whoAmI } from "@huggingface/hub";
import { GrpoError, reasonOf } from "../errors.js";
import { checkOptionNames } from "../options.js";
import { createHubClient, findToken, tokenPath } from "./hub-client.js";

export interface Account {
  readonly name: string;
  readonly organizations: readonly string[];
}

/** Saves a token for later runs, after the Hub has accepted it. */
export async function login(options: { readonly token: string }): Promise<Account> {
  checkOptionNames("login", options, ["token"]);
  const token = typeof options.token === "string" ? options.token.trim() : "";
  if (token === "" || /\s/.test(token)) throw new GrpoError("BAD_OPTION", "login() needs { token }, one word.");
  const account = await whoami({ token });
  const file = tokenPath();
  await mkdir(path.dirname(file), { recursive: true });
  // The mode of an existing file would stay.
  await rm(file, { force: true });
  await writeFile(file, token, { mode: 0o600 });
  return account;
}

/** Forgets the saved token. A token in HF_TOKEN stays in force. */
export async function logout(): Promise<void> {
  await rm(tokenPath(), { force: true });
}

/** The account of the given token, or of the one that is in force. */
export async function whoami(options: { readonly token?: string } = {}): Promise<Account> {
  checkOptionNames("whoami", options, ["token"]);
  const token = options.token ?? findToken();
  if (token === undefined) {
    throw new GrpoError("HUB_ERROR", "Not logged in to the Hub.", { hint: "Run: grpo login, or set HF_TOKEN." });
  }
  const client = createHubClient(undefined, token);
  try {
    const answer = await whoAmI({ hubUrl: client.url, fetch: client.fetch, accessToken: "" });
    return { name: answer.name, organizations: answer.type === "user" ? answer.orgs.map((org) => org.name) : [] };
  } catch (thrown) {
    if (thrown instanceof GrpoError) throw thrown;
    throw new GrpoError("HUB_ERROR", `Asking the Hub for the account failed: ${reasonOf(thrown)}`, { cause: thrown });
  }
}

// Where the Hub and its files are: the environment variables, folders and token file of Python's huggingface_hub, with its
// defaults and its order.

import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { GrpoError } from "../errors.js";

export function hubUrl(): string {
  return (process.env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
}

/** The variable that keeps everything, or data sets, from the network; undefined where none does. */
export function offlineBy(type: "model" | "dataset" | undefined): string | undefined {
  if (type === "dataset" && isTrue(process.env.HF_DATASETS_OFFLINE)) return "HF_DATASETS_OFFLINE";
  return isTrue(process.env.HF_HUB_OFFLINE || process.env.TRANSFORMERS_OFFLINE) ? "HF_HUB_OFFLINE" : undefined;
}

/** Xet is the Hub's storage by chunks; without it files come by plain HTTP and go by LFS. */
export function xetEnabled(): boolean {
  return !isTrue(process.env.HF_HUB_DISABLE_XET);
}

export function symlinksEnabled(): boolean {
  return !isTrue(process.env.HF_HUB_DISABLE_SYMLINKS);
}

/** Milliseconds without an answer or a byte after which a connection counts as broken. */
export function stallTimeout(): number {
  const seconds = Number(process.env.HF_HUB_DOWNLOAD_TIMEOUT);
  return (seconds > 0 ? seconds : 10) * 1000;
}

/** The folder that holds the token and, unless moved, the cache. */
export function hubHome(): string {
  const { HF_HOME: home, XDG_CACHE_HOME: cache } = process.env;
  return expand(home || path.join(cache || path.join(homedir(), ".cache"), "huggingface"));
}

export function hubCacheDir(): string {
  return expand(process.env.HF_HUB_CACHE || process.env.HUGGINGFACE_HUB_CACHE || path.join(hubHome(), "hub"));
}

export function tokenPath(): string {
  return expand(process.env.HF_TOKEN_PATH || path.join(hubHome(), "token"));
}

/** The token of the environment, else the saved one. */
export function findToken(): string | undefined {
  if (isTrue(process.env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const { HF_TOKEN: token, HUGGING_FACE_HUB_TOKEN: older } = process.env;
  const fromEnvironment = cleanToken(token ?? "", "HF_TOKEN") ?? cleanToken(older ?? "", "HUGGING_FACE_HUB_TOKEN");
  return fromEnvironment ?? cleanToken(savedToken(), tokenPath());
}

function savedToken(): string {
  try {
    return readFileSync(tokenPath(), "utf8");
  } catch {
    return "";
  }
}

/** A token without the line breaks that come along with a paste, as Python; what else no header can hold is refused unseen. */
export function cleanToken(text: string, source: string): string | undefined {
  const token = text.replace(/[\r\n]/g, "").trim();
  if (/^[\x21-\x7e]*$/.test(token)) return token || undefined;
  throw new GrpoError("BAD_INPUT", `${source} has a space or a character in it that no token of the Hub has`, {
    hint: "copy the token again: grpo login, or set HF_TOKEN",
  });
}

function isTrue(value: string | undefined): boolean {
  return ["1", "ON", "YES", "TRUE"].includes((value ?? "").toUpperCase());
}

/** A leading ~ and $NAME or ${NAME}, as a shell would. */
function expand(file: string): string {
  const atHome = file.replace(/^~(?=\/|\\|$)/, homedir());
  return atHome.replace(/\$(\w+|\{\w+\})/g, (all, name: string) => process.env[name.replace(/[{}]/g, "")] ?? all);
}

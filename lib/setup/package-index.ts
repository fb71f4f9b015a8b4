// Wheels straight from a Python package index, for machines without pip. Reads the simple API, as JSON (PEP 691) or as the
// HTML page that every index and mirror has (PEP 503), and takes the newest wheel that fits the requirement and this machine.
import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import { fetchPatiently } from "../hub/hub-fetch.js";
import { type Host, readHost } from "../native/host.js";
import { downloadFile, type RemoteWheel } from "./download-file.js";
import { compareVersions, normalName, parseRequirement, type Requirement, versionMatches } from "./requirements.js";
import type { Environment, TransferProgress, WheelRequest, WheelSource } from "./wheel-source.js";

const PUBLIC_INDEX = "https://pypi.org/simple";

export function packageIndex(env: Environment, progress: TransferProgress, host: Host = readHost()): WheelSource {
  return {
    name: "the package index",
    async fetch(request, folder) {
      const wheel = await findWheel(request, request.index ?? (env.PIP_INDEX_URL || PUBLIC_INDEX), host);
      mkdirSync(folder, { recursive: true });
      return downloadFile(wheel, join(folder, wheel.filename), progress);
    },
  };
}

async function findWheel(request: WheelRequest, index: string, host: Host): Promise<RemoteWheel> {
  const wanted = parseRequirement(request.requirement);
  const page = `${index.replace(/\/+$/, "")}/${wanted.name}/`;
  const wheels = (await listFiles(page)).filter((file) => fits(file.filename, wanted, host));
  const newest = wheels.sort((a, b) => compareVersions(versionOf(b), versionOf(a)))[0];
  // The files of an index with a password mostly lie behind the same one; another host must not see it.
  const isSameHost = newest && new URL(newest.url).origin === new URL(page).origin;
  if (newest) return isSameHost ? { ...newest, headers: passwordOf(page) } : newest;
  throw new GrpoError("DOWNLOAD_FAILED", `${shown(page)} has no wheel of ${request.requirement} for ${tagOf(host)}`, {
    hint: "check the version, name another index with --index-url, or bring the wheels with `npx grpo setup --from <file>`",
  });
}

async function listFiles(page: string): Promise<RemoteWheel[]> {
  const accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";
  try {
    const response = await fetchPatiently(withoutPassword(page), { headers: { accept, ...passwordOf(page) } }, false);
    if (response.status === 404) return [];
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const isJson = response.headers.get("content-type")?.includes("json");
    // Links may be relative to where redirections led.
    return isJson ? filesOfJson(await response.json(), response.url) : filesOfHtml(await response.text(), response.url);
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? ` (${reasonOf(error.cause)})` : "";
    throw new GrpoError("DOWNLOAD_FAILED", `${shown(page)} cannot be read: ${reasonOf(error)}${cause}`, {
      hint:
        "check the network and HTTPS_PROXY, name a mirror with --index-url, or fetch the wheels elsewhere and run " +
        "`npx grpo setup --from <file or folder>`",
      cause: error,
    });
  }
}

function filesOfJson(page: unknown, base: string): RemoteWheel[] {
  const files = typeof page === "object" && page && "files" in page && Array.isArray(page.files) ? page.files : [];
  return files.flatMap((file: { filename?: unknown; url?: unknown; hashes?: { sha256?: unknown }; size?: unknown }) => {
    if (typeof file?.filename !== "string" || typeof file.url !== "string") return [];
    const sha256 = typeof file.hashes?.sha256 === "string" ? file.hashes.sha256 : undefined;
    const size = typeof file.size === "number" ? file.size : undefined;
    return [{ filename: basename(file.filename), url: new URL(file.url, base).href, sha256, size }];
  });
}

function filesOfHtml(page: string, base: string): RemoteWheel[] {
  return [...page.matchAll(/<a\s[^<>]*href\s*=\s*["']([^"'<>]+)["']/gi)].map((match) => {
    const url = new URL((match[1] ?? "").replaceAll("&amp;", "&"), base);
    const sha256 = /sha256=([0-9a-f]{64})/.exec(url.hash)?.[1];
    url.hash = "";
    // A slash may be hidden in what is encoded.
    const filename = basename(decodeURIComponent(url.pathname));
    return { filename, url: url.href, sha256, size: undefined };
  });
}

/** Any Python's wheel fits: only what is in torch/lib and nvidia/ is used. */
function fits(filename: string, wanted: Requirement, host: Host): boolean {
  const match = /^(.+?)-([^-]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl$/.exec(filename);
  if (!match) return false;
  const [, name = "", version = "", , abi = "", platforms = ""] = match;
  // Pre-releases are not meant by a plain requirement, and free-threaded builds are other files with the same content.
  if (/[a-z]/.test(version.split("+")[0] ?? "") || abi.endsWith("t")) return false;
  if (normalName(name) !== wanted.name || !versionMatches(version, wanted.specifier)) return false;
  return platforms.split(".").some((platform) => runsOn(platform, host));
}

function runsOn(platform: string, host: Host): boolean {
  if (platform === "any") return true;
  if (host.platform === "darwin") return /^macosx_.*_(arm64|universal2)$/.test(platform);
  const [, major, minor, machine] = /^(?:manylinux_(\d+)_(\d+)|manylinux\d+|linux)_(\w+)$/.exec(platform) ?? [];
  if (machine !== machineOf(host)) return false;
  return major === undefined || compareVersions(host.glibc ?? "0", `${major}.${minor}`) >= 0;
}

function machineOf(host: Host): string {
  return host.arch === "x64" ? "x86_64" : "aarch64";
}

function tagOf(host: Host): string {
  return host.platform === "darwin" ? "macOS arm64" : `Linux ${machineOf(host)}, glibc ${host.glibc}`;
}

function versionOf({ filename }: RemoteWheel): string {
  return filename.split("-")[1] ?? "";
}

/** fetch() refuses addresses with a name and a password in them; an index of one's own often has them. */
function withoutPassword(address: string): string {
  const url = new URL(address);
  url.username = url.password = "";
  return url.href;
}

function passwordOf(address: string): Record<string, string> {
  const { username, password } = new URL(address);
  if (username === "") return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
}

function shown(address: string): string {
  return withoutPassword(address);
}

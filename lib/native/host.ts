// The machine underneath: which system, and which C library. libtorch exists for few of them, and where it cannot run the
// error should say so before anything is fetched or opened.
import { GrpoError } from "../errors.js";

export interface Host {
  readonly platform: string;
  readonly arch: string;
  /** "2.36" where the C library is glibc; undefined on other systems and with musl. */
  readonly glibc: string | undefined;
}

/** The oldest glibc that libtorch's builds run with, and Node's own. */
export const OLDEST_GLIBC = "2.28";

export function readHost(): Host {
  const { platform, arch } = process;
  return { platform, arch, glibc: platform === "linux" ? glibcVersion() : undefined };
}

/** "glibc 2.36", "musl", or nothing where that is no question. */
export function cLibrary({ platform, glibc }: Host): string {
  if (platform !== "linux") return "";
  return glibc ? `glibc ${glibc}` : "musl";
}

/** Throws UNSUPPORTED_PLATFORM where no libtorch can run. */
export function requireSupportedHost(host: Host = readHost()): void {
  const problem = problemOf(host);
  if (problem) throw new GrpoError("UNSUPPORTED_PLATFORM", problem.message, { hint: problem.hint });
}

function problemOf(host: Host): { message: string; hint: string } | undefined {
  const { platform, arch, glibc } = host;
  const hint = "use Linux x64 or arm64 with glibc, or macOS on Apple silicon; on Windows use WSL 2";
  if (platform === "darwin" && arch === "arm64") return undefined;
  if (platform !== "linux" || (arch !== "x64" && arch !== "arm64")) {
    return { message: `there is no libtorch for ${platform}-${arch} that this version supports`, hint };
  }
  if (!glibc) {
    const message = "libtorch needs glibc; this system has musl (Alpine)";
    return { message, hint: "use a Debian, Ubuntu, Fedora or similar image, such as node:22-slim" };
  }
  if (isOlder(glibc, OLDEST_GLIBC)) {
    const message = `libtorch needs glibc ${OLDEST_GLIBC} or newer; this system has ${glibc}`;
    return { message, hint: "use a newer distribution: Debian 10, Ubuntu 20.04, RHEL 8 or later" };
  }
  return undefined;
}

function isOlder(version: string, than: string): boolean {
  return version.localeCompare(than, "en", { numeric: true }) < 0;
}

function glibcVersion(): string | undefined {
  // Without this the report asks for the names of all network addresses, which can take seconds.
  const { report } = process;
  if ("excludeNetwork" in report) report.excludeNetwork = true;
  const content: unknown = report.getReport();
  const header = typeof content === "object" && content && "header" in content ? content.header : undefined;
  if (typeof header !== "object" || header === null || !("glibcVersionRuntime" in header)) return undefined;
  return String(header.glibcVersionRuntime);
}

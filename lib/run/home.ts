// ~ in the paths of options, as Python's os.path.expanduser writes it out.

import { readFileSync } from "node:fs";
import { homedir, userInfo } from "node:os";

/** A path with ~ or ~name at its beginning written out, as Python's expanduser does: a user that nobody knows stays as it is. */
export function expandHome(file: string): string {
  const [, name, rest = ""] = /^~([^/\\]*)(.*)$/s.exec(file) ?? [];
  if (name === undefined) return file;
  const home = name === "" ? homedir() : homeOf(name);
  return home === undefined ? file : home.replace(/\/+$/, "") + rest || "/";
}

function homeOf(name: string): string | undefined {
  const own = userInfo();
  if (name === own.username) return own.homedir;
  try {
    const users = readFileSync("/etc/passwd", "utf8").split("\n");
    return users.map((line) => line.split(":")).find(([user]) => user === name)?.[5];
  } catch {
    return undefined;
  }
}

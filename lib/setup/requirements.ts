// What a wheel's METADATA asks for: names, extras, versions and markers of Python packages, as far as torch and NVIDIA's
// wheels use them. Follows PEP 508 (requirements and markers) and PEP 440 (release numbers; a local part such as +cu130 is
// compared only where the specifier has one).

export interface Requirement {
  /** Normalised: lower case, dashes. */
  readonly name: string;
  readonly extras: readonly string[];
  /** "==13.0.3", ">=13.0.88,<14" or "". */
  readonly specifier: string;
  readonly marker: string | undefined;
}

/** The names that markers may ask for. */
export type MarkerValues = Readonly<Record<string, string>>;

export function parseRequirement(text: string): Requirement {
  const [head = "", ...marker] = text.split(";");
  const name = /^[\w.-]+/.exec(head.trim())?.[0] ?? "";
  const rest = head.trim().slice(name.length).trim();
  const close = rest.startsWith("[") ? rest.indexOf("]") : -1;
  const extras = (close > 0 ? rest.slice(1, close) : "").split(",").map((extra) => extra.trim());
  const specifier = withoutParentheses(rest.slice(close + 1).trim());
  if (name === "" || /[()[\]]/.test(specifier)) throw new Error(`"${text}" is not a requirement`);
  return {
    name: normalName(name),
    extras: extras.filter((extra) => extra !== ""),
    specifier: specifier.replaceAll(" ", ""),
    marker: marker.length === 0 ? undefined : marker.join(";").trim(),
  };
}

function withoutParentheses(text: string): string {
  return text.startsWith("(") && text.endsWith(")") ? text.slice(1, -1) : text;
}

/** PEP 503: runs of dashes, underscores and dots are one dash. */
export function normalName(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, "-");
}

/** The Requires-Dist lines of a METADATA file. */
export function requirementsOf(metadata: string): Requirement[] {
  const [head = ""] = metadata.split(/\r?\n\r?\n/);
  return [...head.matchAll(/^Requires-Dist: *(.+?)\r?$/gm)].map((match) => parseRequirement(match[1] ?? ""));
}

/** What markers see on this machine. `extra` is asked for once for each extra. */
export function markerValues(platform: string = process.platform, arch: string = process.arch): MarkerValues {
  const isMac = platform === "darwin";
  const machine = arch === "x64" ? "x86_64" : isMac ? "arm64" : "aarch64";
  return {
    platform_system: isMac ? "Darwin" : "Linux",
    sys_platform: isMac ? "darwin" : "linux",
    platform_machine: machine,
    os_name: "posix",
    implementation_name: "cpython",
    platform_python_implementation: "CPython",
    // libtorch depends on no Python; wheels for this one exist of every supported version.
    python_version: "3.12",
    python_full_version: "3.12.0",
  };
}

export function markerHolds(marker: string, values: MarkerValues): boolean {
  const tokens = marker.match(/\(|\)|"[^"]*"|'[^']*'|[<>=!~]+|[\w.]+/g) ?? [];
  let at = 0;
  const any = (): boolean => {
    let value = all();
    while (tokens[at] === "or") {
      at++;
      value = all() || value;
    }
    return value;
  };
  const all = (): boolean => {
    let value = one();
    while (tokens[at] === "and") {
      at++;
      value = one() && value;
    }
    return value;
  };
  const one = (): boolean => {
    if (tokens[at] !== "(") return compare(operand(), operator(), operand());
    at++;
    const value = any();
    if (tokens[at++] !== ")") throw new Error(`the marker "${marker}" has no closing parenthesis`);
    return value;
  };
  const operand = (): string => {
    const token = tokens[at++] ?? "";
    if (/^["']/.test(token)) return token.slice(1, -1);
    const value = values[token];
    if (value === undefined) throw new Error(`the marker "${marker}" asks for "${token}", which is not known`);
    return value;
  };
  const operator = (): string => {
    const token = tokens[at++] ?? "";
    if (token !== "not") return token;
    at++;
    return "not in";
  };
  const value = any();
  if (at < tokens.length) throw new Error(`the marker "${marker}" cannot be read from "${tokens[at]}" on`);
  return value;
}

function compare(left: string, operator: string, right: string): boolean {
  if (operator === "in") return right.includes(left);
  if (operator === "not in") return !right.includes(left);
  if (/^\d/.test(left) && /^\d/.test(right)) return versionMatches(left, `${operator}${right}`);
  if (operator === "==") return left === right;
  if (operator === "!=") return left !== right;
  throw new Error(`the marker comparison "${left} ${operator} ${right}" is not known`);
}

/** Whether a version is one of those that a specifier such as "==13.0.*" or ">=13.0.88,<14" allows. */
export function versionMatches(version: string, specifier: string): boolean {
  return specifier
    .split(",")
    .filter((part) => part !== "")
    .every((part) => {
      const [, operator = "", wanted = ""] = /^(===|==|!=|<=|>=|<|>|~=)(.+)$/.exec(part.replaceAll(" ", "")) ?? [];
      return fulfils(wanted.includes("+") ? version : publicVersion(version), operator, wanted);
    });
}

function fulfils(version: string, operator: string, wanted: string): boolean {
  const order = compareVersions(version, wanted);
  if (operator === "~=") return order >= 0 && isWithin(version, wanted.replace(/\.\d+$/, ""));
  if (wanted.endsWith(".*")) return isWithin(version, wanted.slice(0, -2)) === (operator === "==");
  const isEqual = order === 0 && localPart(version) === localPart(wanted);
  if (operator === "==" || operator === "===") return isEqual;
  if (operator === "!=") return !isEqual;
  if (operator === "<") return order < 0;
  if (operator === "<=") return order <= 0;
  if (operator === ">") return order > 0;
  if (operator === ">=") return order >= 0;
  throw new Error(`the version specifier "${operator}${wanted}" is not known`);
}

/** Negative, 0 or positive; release numbers only, missing ones count as 0. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [publicVersion(a).split("."), publicVersion(b).split(".")];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = Number.parseInt(left[i] ?? "0", 10) - Number.parseInt(right[i] ?? "0", 10);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** "13.0.88" is within "13.0". */
function isWithin(version: string, prefix: string): boolean {
  const [parts, wanted] = [publicVersion(version).split("."), prefix.split(".")];
  return wanted.every((part, i) => Number(part) === Number(parts[i] ?? 0));
}

function publicVersion(version: string): string {
  return version.split("+")[0] ?? "";
}

function localPart(version: string): string {
  return version.split("+")[1] ?? "";
}

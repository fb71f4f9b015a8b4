// Requirements, markers and versions as they stand in the METADATA of torch and NVIDIA's wheels.
import { expect, test } from "vitest";
import {
  compareVersions,
  markerHolds,
  markerValues,
  parseRequirement,
  requirementsOf,
  versionMatches,
} from "../../lib/setup/requirements.js";

test("a requirement has a name, extras, a specifier and a marker", () => {
  expect(parseRequirement('cuda-toolkit[cublas,cudart]==13.0.3; platform_system == "Linux"')).toEqual({
    name: "cuda-toolkit",
    extras: ["cublas", "cudart"],
    specifier: "==13.0.3",
    marker: 'platform_system == "Linux"',
  });
  expect(parseRequirement("nvidia_NVJitLink <14, >=13.0.88")).toMatchObject({
    name: "nvidia-nvjitlink",
    specifier: "<14,>=13.0.88",
    marker: undefined,
  });
  expect(parseRequirement("setuptools (>=77.0.3)").specifier).toBe(">=77.0.3");
  expect(() => parseRequirement("; nothing")).toThrow("is not a requirement");
});

test("only the head of METADATA counts, with either kind of line end", () => {
  const metadata =
    "Name: torch\r\nRequires-Dist: filelock\r\nRequires-Dist: jinja2\r\n\r\nRequires-Dist: in the text\r\n";
  expect(requirementsOf(metadata).map(({ name }) => name)).toEqual(["filelock", "jinja2"]);
});

// The marker of cuda-toolkit 13.0.3.
const cublas =
  "(sys_platform == 'linux' and platform_machine == 'aarch64' or sys_platform == 'linux' and platform_machine == 'x86_64' " +
  "or sys_platform == 'win32' and platform_machine == 'AMD64') and extra == 'cublas'";

test.each([
  [cublas, "linux", "x64", "cublas", true],
  [cublas, "linux", "arm64", "cublas", true],
  [cublas, "linux", "x64", "cufft", false],
  [cublas, "darwin", "arm64", "cublas", false],
  ['platform_system == "Linux" and python_version < "3.15"', "linux", "x64", "", true],
  ['platform_system == "Linux" and python_version < "3.9"', "linux", "x64", "", false],
  ['python_version >= "3.10" and platform_machine not in "x86_64 amd64"', "linux", "x64", "", false],
  ['sys_platform != "win32"', "linux", "x64", "", true],
  ["(os_name == 'posix')", "darwin", "arm64", "", true],
])("marker %s on %s-%s with extra %j: %s", (marker, platform, arch, extra, expected) => {
  expect(markerHolds(marker, { ...markerValues(platform, arch), extra })).toBe(expected);
});

test.each(["platform_release == '6'", "(os_name == 'posix'", "os_name == 'posix' os_name", "os_name < 'posix'"])(
  "the marker %s is refused",
  (marker) => {
    expect(() => markerHolds(marker, markerValues("linux", "x64"))).toThrow("marker");
  },
);

test.each([
  ["13.1.1.3", "==13.1.1.3.*", true],
  ["13.1.1.30", "==13.1.1.3.*", false],
  ["13.1.1", "==13.1.*", true],
  ["13.4.92", "<14,>=13.0.88", true],
  ["14.0", "<14,>=13.0.88", false],
  ["3.8.4", "~=3.8.0", true],
  ["3.9.0", "~=3.8.0", false],
  ["2.13.0+cpu", "==2.13.0+cpu", true],
  ["2.13.0+cu130", "==2.13.0+cpu", false],
  ["2.13.0+cu130", "==2.13.0", true],
  ["2.13.0", "==2.13", true],
  ["2.13.1", "!=2.13.0", true],
  ["2.13.1", "!=2.13.*", false],
  ["1.0", "", true],
])("version %s against %j: %s", (version, specifier, expected) => {
  expect(versionMatches(version, specifier)).toBe(expected);
});

test("versions are compared by number", () => {
  expect(["13.0.88", "13.0.9", "9.24.0.43", "13"].sort(compareVersions)).toEqual([
    "9.24.0.43",
    "13",
    "13.0.9",
    "13.0.88",
  ]);
});

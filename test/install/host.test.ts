// Machines that no libtorch runs on are told so by a typed error before anything is fetched or opened.
import { expect, test } from "vitest";
import { cLibrary, readHost, requireSupportedHost } from "../../lib/native/host.js";

const linux = { platform: "linux", arch: "x64", glibc: "2.36" };

test.each([
  ["musl", { ...linux, glibc: undefined }, /musl \(Alpine\)/, /node:22-slim/],
  ["an old glibc", { ...linux, glibc: "2.17" }, /glibc 2\.28 or newer; this system has 2\.17/, /newer distribution/],
  ["Windows", { platform: "win32", arch: "x64", glibc: undefined }, /win32-x64/, /WSL 2/],
  ["an Intel Mac", { platform: "darwin", arch: "x64", glibc: undefined }, /darwin-x64/, /Apple silicon/],
  ["32 bits", { ...linux, arch: "ia32" }, /linux-ia32/, /x64 or arm64/],
])("%s is UNSUPPORTED_PLATFORM", (_what, host, message, hint) => {
  const attempt = () => requireSupportedHost(host);
  expect(attempt).toThrow(expect.objectContaining({ code: "UNSUPPORTED_PLATFORM", hint: expect.stringMatching(hint) }));
  expect(attempt).toThrow(message);
});

test.each([
  ["glibc 2.28 itself", { ...linux, glibc: "2.28" }],
  ["a glibc after 2.9", { ...linux, glibc: "2.100" }],
  ["arm64", { ...linux, arch: "arm64" }],
  ["Apple silicon", { platform: "darwin", arch: "arm64", glibc: undefined }],
])("%s is accepted", (_what, host) => {
  expect(() => requireSupportedHost(host)).not.toThrow();
});

test("this machine is recognised", () => {
  const host = readHost();
  expect(host).toMatchObject({ platform: process.platform, arch: process.arch });
  if (process.platform === "linux") expect(cLibrary(host)).toMatch(/^glibc \d+\.\d+$|^musl$/);
});

// Folders and zip files that look like a libtorch as far as the search and `setup` look: names and versions, no code.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { onTestFinished } from "vitest";
import { sharedLibraryName } from "../../lib/native/libtorch.js";

/** A folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "grpo-install-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** version.py as a wheel has it. */
export function versionPy(version: string, cuda?: string): string {
  return `__version__ = '${version}'\ncuda: Optional[str] = ${cuda ? `'${cuda}'` : "None"}\n`;
}

/** Writes a libtorch into `dir`: libtorch.so is a text, so it is found but does not load. */
export function fakeLibtorch(dir: string, version: string, cuda?: string): string {
  writeFiles(dir, {
    [`lib/${sharedLibraryName("torch")}`]: "not a library",
    "version.py": versionPy(version, cuda),
  });
  return dir;
}

export function writeFiles(dir: string, files: Readonly<Record<string, string>>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), content);
  }
}

/** The bytes of a zip file that stores the given entries without compression. */
export function zipOf(files: Readonly<Record<string, string>>): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const [path, data] = [Buffer.from(name), Buffer.from(content)];
    // Version 2.0, no flags, stored, no date; then checksum, both sizes, name length, no extra field.
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt32LE(crc32(data), 10);
    shared.writeUInt32LE(data.length, 14);
    shared.writeUInt32LE(data.length, 18);
    shared.writeUInt16LE(path.length, 22);
    locals.push(Buffer.from("PK\x03\x04"), shared, path, data);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(offset, 10);
    directory.push(Buffer.from("PK\x01\x02\x14\x00", "latin1"), shared, rest, path);
    offset += 4 + shared.length + path.length + data.length;
  }
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(Object.keys(files).length, 8);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, ...directory, end]);
}

// Room on the disk: asked for before gigabytes are fetched, and the one error for when there is none.
import { statfsSync } from "node:fs";
import { GrpoError } from "../errors.js";

/** Free bytes in the file system of a folder. */
export function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Throws DISK_FULL unless `needed` bytes are free. */
export function requireSpace(folder: string, needed: number, free: number = freeBytes(folder)): void {
  if (free < needed) throw noRoom(folder, needed, free);
}

export function noRoom(folder: string, needed?: number, free: number = freeBytes(folder)): GrpoError {
  const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(1);
  const wanted = needed === undefined ? "" : `${gigabytes(needed)} GB are needed, `;
  return new GrpoError("DISK_FULL", `not enough room in ${folder}: ${wanted}${gigabytes(free)} GB are free`, {
    hint: "free some space, or set GRPO_CACHE to a folder on another disk, and run `npx grpo setup` again",
  });
}

export function isDiskFull(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && (thrown.code === "ENOSPC" || thrown.code === "EDQUOT");
}

// Rows as the JSON that scripts/golden/parquet_rows.py writes: what JSON has no exact form for is an object with one $ key.

export function jsonRow(value: unknown): unknown {
  if (typeof value === "bigint") return { $int: String(value) };
  if (typeof value === "number" && !Number.isFinite(value)) return { $float: pythonName(value) };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(jsonRow);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, jsonRow(inner)]));
}

function pythonName(value: number): string {
  return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

// What parquet values become in JavaScript, so that nothing is lost: whole numbers beyond 2^53 are bigint; decimals, dates,
// times and timestamps, which JavaScript has no exact type for, are text as Python's str() and isoformat() write them; JSON is what
// it says.

import type { ParquetParsers, SchemaElement } from "hyparquet";
import { parseJson } from "./exact-json.js";

export interface LeafFormat {
  /** The element without the types that are converted here, so that hyparquet gives the stored value. */
  readonly element: SchemaElement;
  readonly parsers: ParquetParsers;
  /** Gives the value for the stored one, where hyparquet has no parser for it. */
  readonly convert?: (value: unknown) => unknown;
}

type Unit = "MILLIS" | "MICROS" | "NANOS";
const DIGITS: Readonly<Record<Unit, number>> = { MILLIS: 3, MICROS: 6, NANOS: 9 };

export function leafFormat(element: SchemaElement): LeafFormat {
  const logical = element.logical_type;
  const converted = element.converted_type;
  const zone = logical?.type === "TIMESTAMP" ? (logical.isAdjustedToUTC ? "+00:00" : "") : zoneOfConverted(converted);
  const parsers = textParsers(zone);
  const { converted_type: _, logical_type: __, ...raw } = element;
  if (converted === "DECIMAL" || logical?.type === "DECIMAL") {
    const scale = element.scale ?? (logical?.type === "DECIMAL" ? logical.scale : 0);
    return { element: raw, parsers, convert: (value) => decimalText(value, scale) };
  }
  if (logical?.type === "TIME" || converted === "TIME_MILLIS" || converted === "TIME_MICROS") {
    const unit = logical?.type === "TIME" ? logical.unit : converted === "TIME_MILLIS" ? "MILLIS" : "MICROS";
    return { element: raw, parsers, convert: (value) => timeText(value, unit) };
  }
  if (converted === "JSON" || logical?.type === "JSON") {
    return { element: { ...raw, converted_type: "UTF8" }, parsers, convert: jsonValue };
  }
  if (converted === "INTERVAL" || converted === "BSON") return { element: raw, parsers };
  // Bytes unless they are said to be text.
  if (converted === "ENUM" || logical?.type === "ENUM")
    return { element: { ...element, converted_type: "UTF8" }, parsers };
  return { element, parsers };
}

/** A timestamp without a logical type is in UTC, except Impala's INT96, which has no zone. */
function zoneOfConverted(converted: SchemaElement["converted_type"]): string {
  return converted === "TIMESTAMP_MILLIS" || converted === "TIMESTAMP_MICROS" ? "+00:00" : "";
}

/** A list in JSON is no list of the file: it must not look like one before rows are put together. */
class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

function jsonValue(value: unknown): unknown {
  return typeof value === "string" ? new JsonText(value) : undefined;
}

function textParsers(zone: string): ParquetParsers {
  const text = (bytes: Uint8Array | undefined) => bytes && decoder.decode(bytes);
  return {
    timestampFromMilliseconds: (value: bigint | undefined) => timestampText(value, "MILLIS", zone),
    timestampFromMicroseconds: (value: bigint | undefined) => timestampText(value, "MICROS", zone),
    timestampFromNanoseconds: (value: bigint | undefined) => timestampText(value, "NANOS", zone),
    dateFromDays: (days: number | undefined) => (days === undefined ? undefined : dateText(BigInt(days))),
    stringFromBytes: text,
    jsonFromBytes: text,
    geometryFromBytes: (bytes: Uint8Array | undefined) => bytes,
    geographyFromBytes: (bytes: Uint8Array | undefined) => bytes,
    uuidFromBytes: uuidText,
  };
}

const decoder = new TextDecoder();

function timestampText(value: bigint | undefined, unit: Unit, zone: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  const perDay = 86_400n * 10n ** BigInt(DIGITS[unit]);
  const days = floorDivide(BigInt(value), perDay);
  return `${dateText(days)}T${timeText(BigInt(value) - days * perDay, unit)}${zone}`;
}

/** Proleptic Gregorian, years of any size: Date ends at the year 275760. */
function dateText(days: bigint): string {
  // The calendar repeats every 400 years.
  const cycle = 146_097n;
  const cycles = floorDivide(days, cycle);
  const date = new Date(Number(days - cycles * cycle) * 86_400_000);
  const year = date.getUTCFullYear() + Number(cycles) * 400;
  return `${year < 0 ? "-" : ""}${String(Math.abs(year)).padStart(4, "0")}${date.toISOString().slice(4, 10)}`;
}

/** hh:mm:ss, and a fraction of the seconds unless it is zero: six digits, nine where microseconds do not hold it. */
function timeText(value: unknown, unit: Unit): string | undefined {
  if (typeof value !== "number" && typeof value !== "bigint") return undefined;
  const nanos = BigInt(value) * 10n ** BigInt(9 - DIGITS[unit]);
  const seconds = Number(nanos / 1_000_000_000n);
  const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const fraction = String(nanos % 1_000_000_000n).padStart(9, "0");
  const shown = fraction.endsWith("000") ? fraction.slice(0, 6) : fraction;
  return clock.map((part) => String(part).padStart(2, "0")).join(":") + (/[1-9]/.test(shown) ? `.${shown}` : "");
}

function decimalText(value: unknown, scale: number): string | undefined {
  const unscaled = value instanceof Uint8Array ? bigEndian(value) : toBigInt(value);
  if (unscaled === undefined) return undefined;
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, "0");
  const sign = unscaled < 0n ? "-" : "";
  return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

function toBigInt(value: unknown): bigint | undefined {
  return typeof value === "number" || typeof value === "bigint" ? BigInt(value) : undefined;
}

/** Two's complement, most significant byte first. */
function bigEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return BigInt.asIntN(bytes.length * 8, value);
}

function uuidText(bytes: Uint8Array | undefined): string | undefined {
  return (
    bytes &&
    Buffer.from(bytes)
      .toString("hex")
      .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")
  );
}

function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}

/** Whole numbers arrive as bigint; those that a double holds exactly become numbers, at any depth. Missing is null. */
export function plainValue(value: unknown): unknown {
  if (value === undefined) return null;
  if (value instanceof JsonText) return parseJson(value.text, "a column of JSON");
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return value.map(plainValue);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plainValue(inner)]));
}

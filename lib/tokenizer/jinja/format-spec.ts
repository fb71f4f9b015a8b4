// Python's format specifications, as in "{:>8.2f}".format(x) and "%-8s" % x. What is not known here is refused: a specification
// that is passed over, or written out, would put wrong text into a prompt.

import { TemplateTypeError } from "./errors.js";
import { floatText, integerText, isFloat, lengthOf, numberOf, textOf, typeName, type Value } from "./values.js";

export interface FormatSpec {
  readonly fill: string;
  /** < > ^, or = for fill between sign and digits; undefined for the value's own side. */
  readonly align: string | undefined;
  readonly sign: string;
  readonly alternate: boolean;
  readonly width: number;
  readonly group: string;
  readonly precision: number | undefined;
  readonly type: string;
}

const SPEC = /^(?:(.)?([<>=^]))?([+ -]?)(#?)(0?)(\d*)([,_]?)(?:\.(\d+))?([a-zA-Z%]?)$/su;

/** format(value, spec) */
export function formatValue(value: Value, spec: string): string {
  if (spec === "") return textOf(value);
  const found = SPEC.exec(spec);
  const known = typeof value === "string" || numberOf(value) !== undefined;
  if (found === null || !known) return unsupported(spec, value);
  const [, fill, align, sign = "", alternate, zero, width, group = "", precision, type = ""] = found;
  return formatted(value, {
    fill: fill ?? (zero ? "0" : " "),
    align: align ?? (zero && typeof value !== "string" ? "=" : undefined),
    sign: sign.replace("-", ""),
    alternate: alternate === "#",
    width: Number(width),
    group,
    precision: precision === undefined ? undefined : Number(precision),
    type,
  });
}

export function formatted(value: Value, spec: FormatSpec): string {
  if (typeof value === "string") return formatText(value, spec);
  const number = numberOf(value);
  if (number === undefined) return unsupported(spec.type, value);
  const float = isFloat(value);
  const negative = number < 0 || Object.is(number, -0);
  const [prefix, digits] = digitsOf(Math.abs(number), float, spec, value);
  const sign = negative && !(number === 0 && !float) ? "-" : spec.sign;
  const grouped = spec.group === "" ? digits : groupedBy(digits, spec.group);
  // Zeros between the sign and digits in groups would be in groups as well.
  if (spec.group !== "" && spec.align === "=" && spec.fill === "0") return unsupported(spec.group, value);
  return padded(sign + prefix, grouped, spec, ">");
}

function formatText(text: string, spec: FormatSpec): string {
  if (!/^s?$/.test(spec.type) || spec.sign !== "" || spec.alternate || spec.group !== "" || spec.align === "=") {
    return unsupported(spec.type || spec.align || spec.sign, text);
  }
  const cut = spec.precision === undefined ? text : Array.from(text).slice(0, spec.precision).join("");
  return padded("", cut, spec, "<");
}

function padded(sign: string, text: string, { fill, align, width }: FormatSpec, usual: "<" | ">"): string {
  const space = Math.max(0, width - lengthOf(sign) - lengthOf(text));
  const side = align ?? usual;
  if (side === "=") return sign + fill.repeat(space) + text;
  const left = side === "<" ? 0 : side === ">" ? space : Math.floor(space / 2);
  return fill.repeat(left) + sign + text + fill.repeat(space - left);
}

const RADIX: Readonly<Record<string, number>> = { b: 2, o: 8, x: 16, X: 16 };

/** Prefix and digits of a number that is not negative. */
function digitsOf(number: number, float: boolean, spec: FormatSpec, value: Value): [prefix: string, digits: string] {
  const { type, precision, alternate } = spec;
  const upper = (text: string) => (type === type.toUpperCase() ? text.toUpperCase() : text);
  const radix = RADIX[type];
  if (!float && precision === undefined && radix !== undefined && (type !== "X" || !alternate)) {
    return [alternate ? `0${type}` : "", upper(BigInt(number).toString(radix))];
  }
  if (!float && precision === undefined && /^d?$/.test(type) && !alternate) return ["", integerText(number)];
  if (alternate || !(/^[eEfFgG%]$/.test(type) || (float && type === "" && precision === undefined))) {
    return unsupported(type, value);
  }
  if (!Number.isFinite(number)) return ["", upper(floatText(number)) + (type === "%" ? "%" : "")];
  if (type === "") return ["", floatText(number)];
  if (type === "%") return ["", `${rounded(number * 100, precision ?? 6, "toFixed")}%`];
  if (/[fF]/.test(type)) return ["", rounded(number, precision ?? 6, "toFixed")];
  if (/[eE]/.test(type)) return ["", upper(rounded(number, precision ?? 6, "toExponential"))];
  return ["", upper(general(number, precision === 0 ? 1 : (precision ?? 6)))];
}

/** %g: the shorter of both forms, without zeros at the end. */
function general(number: number, precision: number): string {
  const exponential = rounded(number, precision - 1, "toExponential");
  const [digits = "", exponent = ""] = exponential.split("e");
  const isShort = Number(exponent) >= -4 && Number(exponent) < precision;
  const trimmed = (text: string) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  return isShort
    ? trimmed(rounded(number, precision - 1 - Number(exponent), "toFixed"))
    : `${trimmed(digits)}e${exponent}`;
}

/** JavaScript rounds halves up, Python to the even neighbour; and Python's exponents have two digits. */
function rounded(number: number, precision: number, method: "toFixed" | "toExponential"): string {
  if (precision > 40 || (method === "toFixed" && number >= 1e21)) {
    throw new TemplateTypeError(`format of ${number} with ${precision} digits is not supported`);
  }
  const [digits = "", exponent] = number[method](precision).split("e");
  // A hundred digits tell a half from what is only near to one.
  const [exact = ""] = number[method](100).split("e");
  const end = exact.indexOf(".") + 1 + precision;
  const kept = exact.slice(0, end).replace(/\.$/, "");
  const isHalf = /^50*$/.test(exact.slice(end));
  const text = isHalf && /[02468]$/.test(kept) ? kept : digits;
  return exponent === undefined ? text : `${text}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
}

function groupedBy(digits: string, separator: string): string {
  return digits.replace(/^\d+/, (whole) => whole.replace(/\B(?=(?:\d{3})+$)/g, separator));
}

function unsupported(spec: string | undefined, value: Value): never {
  throw new TemplateTypeError(`the format "${spec ?? ""}" is not supported for ${typeName(value)}`);
}

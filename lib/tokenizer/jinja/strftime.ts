// Python's datetime.strftime for a local time without a zone, in the C locale.

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];

/** %-d and the like drop the padding, %_d pads with spaces, as in glibc. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([-_0^]?)([a-zA-Z%])/g, (whole, flag: string, code: string) => {
    const value = CODES[code]?.(date);
    if (value === undefined) return whole;
    if (typeof value === "string") return flag === "^" ? value.toUpperCase() : value;
    const [number, width, pad] = value;
    const filler = flag === "-" ? "" : flag === "_" ? " " : flag === "0" ? "0" : (pad ?? "0");
    return filler === "" ? String(number) : String(number).padStart(width, filler);
  });
}

type Field = string | readonly [value: number, width: number, pad?: string];

const CODES: Readonly<Record<string, (date: Date) => Field>> = {
  a: (d) => dayName(d).slice(0, 3),
  A: dayName,
  b: (d) => monthName(d).slice(0, 3),
  B: monthName,
  c: (d) => strftime(d, "%a %b %e %H:%M:%S %Y"),
  C: (d) => [Math.floor(d.getFullYear() / 100), 2],
  d: (d) => [d.getDate(), 2],
  D: (d) => strftime(d, "%m/%d/%y"),
  e: (d) => [d.getDate(), 2, " "],
  f: (d) => [d.getMilliseconds() * 1000, 6],
  F: (d) => strftime(d, "%Y-%m-%d"),
  G: (d) => [isoWeek(d)[0], 4],
  h: (d) => monthName(d).slice(0, 3),
  H: (d) => [d.getHours(), 2],
  I: (d) => [d.getHours() % 12 || 12, 2],
  j: (d) => [dayOfYear(d) + 1, 3],
  k: (d) => [d.getHours(), 2, " "],
  l: (d) => [d.getHours() % 12 || 12, 2, " "],
  m: (d) => [d.getMonth() + 1, 2],
  M: (d) => [d.getMinutes(), 2],
  n: () => "\n",
  p: (d) => (d.getHours() < 12 ? "AM" : "PM"),
  P: (d) => (d.getHours() < 12 ? "am" : "pm"),
  r: (d) => strftime(d, "%I:%M:%S %p"),
  R: (d) => strftime(d, "%H:%M"),
  s: (d) => [Math.floor(d.getTime() / 1000), 1],
  S: (d) => [d.getSeconds(), 2],
  t: () => "\t",
  T: (d) => strftime(d, "%H:%M:%S"),
  u: (d) => [d.getDay() || 7, 1],
  U: (d) => [Math.floor((dayOfYear(d) + 7 - d.getDay()) / 7), 2],
  V: (d) => [isoWeek(d)[1], 2],
  w: (d) => [d.getDay(), 1],
  W: (d) => [Math.floor((dayOfYear(d) + 7 - ((d.getDay() + 6) % 7)) / 7), 2],
  x: (d) => strftime(d, "%m/%d/%y"),
  X: (d) => strftime(d, "%H:%M:%S"),
  y: (d) => [d.getFullYear() % 100, 2],
  Y: (d) => [d.getFullYear(), 1],
  z: () => "",
  Z: () => "",
  "%": () => "%",
};

function dayName(date: Date): string {
  return DAYS[date.getDay()] as string;
}

function monthName(date: Date): string {
  return MONTHS[date.getMonth()] as string;
}

/** The day of the year, from 0. */
function dayOfYear(date: Date): number {
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((day - Date.UTC(date.getFullYear(), 0, 1)) / 86_400_000);
}

/** Year and week of ISO 8601: that of the week's Thursday. */
function isoWeek(date: Date): readonly [year: number, week: number] {
  const thursday = new Date(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate() + 4 - (date.getDay() || 7)));
  const start = Date.UTC(thursday.getUTCFullYear(), 0, 1);
  return [thursday.getUTCFullYear(), Math.floor((thursday.getTime() - start) / 604_800_000) + 1];
}

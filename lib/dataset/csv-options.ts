// What can be said of how a CSV file is read, under the names of this project; reading.ts has those of pandas. The defaults are pandas'.

/** How fields and records are told apart. */
export interface CsvDialect {
  /** One character. */
  readonly delimiter: string;
  /** One character, or empty where quotes are text. */
  readonly quote: string;
  /** Whether two quotes inside quotes are one. */
  readonly doubleQuote: boolean;
  /** Before a character that stands for itself; empty: none. */
  readonly escape: string;
  /** From here to the end of the line nothing counts; empty: no comments. */
  readonly comment: string;
  /** Whether spaces after a delimiter are left out. */
  readonly skipInitialSpace: boolean;
  readonly skipBlankLines: boolean;
}

export type ColumnType = "integer" | "number" | "boolean" | "string";

/** How a file is read. */
export interface CsvOptions extends CsvDialect {
  /** Which record has the names of the columns; null: none. */
  readonly header: number | null;
  /** In place of those in the file. */
  readonly names: readonly string[] | undefined;
  /** Lines that are left out at the beginning. */
  readonly skipRows: number;
  /** What is read as null. */
  readonly missing: ReadonlySet<string>;
  /** What is read as true or false beside these words, which may be in any case. */
  readonly trueValues: ReadonlySet<string>;
  readonly falseValues: ReadonlySet<string>;
  /** Empty: none. */
  readonly thousands: string;
  readonly decimal: string;
  /** Of columns of which it is declared; the others' are inferred. */
  readonly types: ReadonlyMap<string, ColumnType>;
}

/** What pandas reads as missing. */
export const MISSING: ReadonlySet<string> = new Set(
  [
    "",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "-NaN",
    "-nan",
    "1.#IND",
    "1.#QNAN",
    "<NA>",
    "N/A",
    "NA",
  ].concat(["NULL", "NaN", "None", "n/a", "nan", "null"]),
);

/** CSV as it is read where nothing is said of it. */
export const CSV: CsvOptions = {
  delimiter: ",",
  quote: '"',
  doubleQuote: true,
  escape: "",
  comment: "",
  skipInitialSpace: false,
  skipBlankLines: true,
  header: 0,
  names: undefined,
  skipRows: 0,
  missing: MISSING,
  trueValues: new Set(),
  falseValues: new Set(),
  thousands: "",
  decimal: ".",
  types: new Map(),
};

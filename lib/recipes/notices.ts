// What is said of a configuration before its run: keys that mean nothing here, and how others were read.

export interface Notice {
  readonly keys: readonly string[];
  readonly text: string;
}

/** Gathers keys by what is said of them. */
export class Notices {
  readonly #keys = new Map<string, string[]>();

  add(key: string, text: string): void {
    this.#keys.set(text, [...(this.#keys.get(text) ?? []), key]);
  }

  list(): Notice[] {
    return [...this.#keys].map(([text, keys]) => ({ keys, text }));
  }
}

/** One block for the console; undefined if there is nothing to say. */
export function noticeText(notices: readonly Notice[]): string | undefined {
  if (notices.length === 0) return undefined;
  const lines = notices.map(({ keys, text }) => `  ${keys.join(", ")}: ${text}`);
  return `notice: about this configuration\n${lines.join("\n")}\n`;
}

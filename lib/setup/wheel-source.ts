// Where wheels come from: through pip, which knows the user's own index, mirror, proxy, certificates and passwords, or, where
// there is no pip, straight from a package index (package-index.ts). Both check digests and keep what is complete.

export type Environment = Readonly<Record<string, string | undefined>>;

export interface WheelRequest {
  /** "torch==2.13.0+cpu", "nvidia-nvjitlink<14,>=13.0.88" */
  readonly requirement: string;
  /** The index to ask; undefined: the user's own, else PyPI. */
  readonly index?: string;
  /** Any Python's wheel will do, not only the one of the Python that pip runs in. */
  readonly anyPython?: boolean;
}

export interface WheelSource {
  /** "pip 25.1" or "the package index" */
  readonly name: string;
  /** Brings one wheel into `folder`, unless it is there already, and returns its path. */
  fetch(request: WheelRequest, folder: string): Promise<string>;
}

export interface TransferProgress {
  /** Bytes of one file so far; `total` where it is known. */
  bytes(name: string, done: number, total?: number): void;
}

/** The Python version that is asked for where any will do. */
export const ANY_PYTHON_VERSION = "3.12";

/** What is asked for, in words. */
export function describeRequest({ requirement, index, anyPython }: WheelRequest): string {
  const from = index ? ` from ${index}` : "";
  return `${requirement}${from}${anyPython ? ` for Python ${ANY_PYTHON_VERSION}` : ""}`;
}

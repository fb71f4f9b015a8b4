// What the grpo command asks of each of its parts.

export interface Command {
  /** Lines after "usage: grpo <name>". */
  readonly usage: string;
  /** Runs with the arguments after the command's name and returns the exit status. */
  run(args: readonly string[]): Promise<number>;
}

// What a trainer tells on the console of rewards that teach nothing, and of completions that another policy seems to have drawn: each
// kind once, as how often it happens is in the logs.

import type { GrpoError } from "../errors.js";
import type { Metrics } from "../log/metrics.js";
import type { FailureKind } from "../rewards/failure.js";
import type { SampledGroups } from "../rollout/dynamic-sampling.js";
import type { Group, ScoredRollout } from "../rollout/sample.js";
import type { GRPOConfig } from "./config.js";

/**
 * In nats, the mean over the tokens of a step. Engines of one precision differ by less than 0.001, bfloat16 from float32 by 0.03 to
 * 0.05; a quantised server, or one with other weights, by more than this.
 */
const LARGE_GAP = 0.1;
const GAP = "sampling/sampling_logp_difference/mean";

export class RewardNotes {
  readonly #note: (text: string) => void;
  readonly #told = new Set<string>();

  constructor(note: (text: string) => void) {
    this.#note = note;
  }

  /** A call of a reward function failed, and its rewards are what onRewardError says. */
  failed(name: string, kind: FailureKind, error: GrpoError, counts: GRPOConfig["onRewardError"]): void {
    const metric = `rewards/${name}/${kind}`;
    const [what] = error.message.split("\n");
    this.#once(metric, `${what}; its rewards count as ${counts}, and ${metric} says how often`);
  }

  /** Completions on which every function abstained, of which TRL warns too. */
  unscored(dataset: "trainDataset" | "evalDataset", groups: readonly Group<ScoredRollout>[]): void {
    const rewards = groups.flatMap(({ row, rollouts }) => rollouts.map(({ reward }) => ({ row, reward })));
    const unscored = rewards.filter(({ reward }) => Number.isNaN(reward));
    const [first] = unscored;
    if (!first) return;
    const which = `${unscored.length} of ${rewards.length} completions, the first for row ${first.row} of ${dataset}`;
    this.#once(
      `unscored ${dataset}`,
      `every reward function gave null for ${which}; they teach nothing, and completions.jsonl has them with reward null`,
    );
  }

  /** Dynamic sampling that has come to the end of its rounds. */
  unfilled({ rounds, groups, kept, withoutSpread }: SampledGroups): void {
    const useless = kept.filter((group) => withoutSpread.has(group)).length;
    if (useless === 0) return;
    const ended = `dynamic sampling ended after ${rounds.length} rounds and ${groups.length} groups`;
    this.#once(
      "unfilled",
      `${ended} with ${useless} of ${kept.length} groups without spread, which teach nothing; dynamic_sampling/unfilled says how often`,
    );
  }

  /** Log-probabilities that sampling and training do not agree on. */
  samplingGap(metrics: Metrics, elsewhere: boolean): void {
    const gap = metrics[GAP];
    if (gap === undefined || !(gap > LARGE_GAP)) return;
    const means = elsewhere
      ? "the servers sample from another policy than the one that is trained: look at their model, its precision and their flags"
      : "what samples and what trains do not compute the same";
    this.#once(GAP, `sampling and training differ by ${gap.toFixed(2)} nats a token (${GAP}); ${means}`, "warning");
  }

  #once(key: string, text: string, kind: "note" | "warning" = "note"): void {
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#note(`${kind.padEnd(8)} ${text}`);
  }
}

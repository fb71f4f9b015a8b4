// Completions as completions.jsonl has them.

import { at } from "../at.js";
import type { CompletionRecord, SampleRecord } from "../log/run-log.js";
import { completionText } from "../rewards/per-sample.js";
import {
  type Conversation,
  completionIdsOf,
  finishReasonOf,
  type Group,
  type Sample,
  type ScoredRollout,
} from "../rollout/sample.js";

export function completionRecords(
  step: number,
  split: "train" | "eval",
  groups: readonly Group<ScoredRollout>[],
  names: readonly string[],
): CompletionRecord[] {
  const columns = [...new Set(groups.flatMap(({ rollouts }) => rollouts.flatMap(({ extras }) => Object.keys(extras))))];
  return groups.flatMap((group) =>
    group.rollouts.map((rollout) => ({
      step,
      split,
      row: group.row,
      prompt: rollout.prompt ?? group.prompt,
      completion: completionText(rollout.completion),
      ids: completionIdsOf(rollout),
      rewards: Object.fromEntries(names.map((name, k) => [name, at(rollout.rewards, k)])),
      reward: Number.isNaN(rollout.reward) ? null : rollout.reward,
      advantage: rollout.advantage,
      finish_reason: finishReasonOf(rollout),
      ...(columns.length > 0 ? { extra: Object.fromEntries(columns.map((name) => [name, rollout.extras[name]])) } : {}),
      ...lossMaskRecord(rollout),
      ...policyStepsRecord(rollout),
      ...sampleRecords(group, rollout),
    })),
  );
}

function lossMaskRecord({ samples }: ScoredRollout): Pick<CompletionRecord, "loss_mask"> {
  if (samples.every(({ lossMask }) => lossMask === undefined)) return {};
  const masks = samples.map(({ lossMask, completionIds }) => lossMask ?? new Uint8Array(completionIds.length).fill(1));
  return { loss_mask: masks.flatMap((mask) => [...mask]) };
}

function policyStepsRecord({ samples }: ScoredRollout): Pick<CompletionRecord, "policy_steps"> {
  if (samples.every(({ policySteps }) => policySteps === undefined)) return {};
  return {
    policy_steps: samples.flatMap(({ policySteps, completionIds }) => [
      ...(policySteps ?? completionIds.map(() => -1)),
    ]),
  };
}

function sampleRecords(
  group: Group<ScoredRollout>,
  { samples, conversations, advantage, tokenAdvantages }: ScoredRollout,
): Pick<CompletionRecord, "samples"> {
  const ofPrompt = ({ promptIds }: Sample) =>
    promptIds.length === group.promptIds.length && promptIds.every((id, i) => id === group.promptIds[i]);
  const isPlain = (sample: Sample) => ofPrompt(sample) && sample.turns === undefined;
  if (samples.length === 1 && samples.every(isPlain) && conversations === undefined) return {};
  return {
    samples: samples.map((sample, i) => ({
      ...(ofPrompt(sample) ? {} : { prompt_ids: sample.promptIds }),
      tokens: sample.completionIds.length,
      finish_reason: sample.finishReason,
      ...turnRecords(sample, (token) => tokenAdvantages?.[i]?.[token] ?? advantage),
      ...conversationRecord(conversations?.[i]),
    })),
  };
}

function turnRecords({ turns }: Sample, advantageOf: (token: number) => number): Pick<SampleRecord, "turns"> {
  if (turns === undefined) return {};
  return {
    turns: turns.map(({ start, end, index, reward }) => {
      return { turn: index, tokens: [start, end] as const, reward, advantage: advantageOf(start) };
    }),
  };
}

function conversationRecord(conversation: Conversation | undefined): Partial<SampleRecord> {
  if (conversation === undefined) return {};
  const { messages, sampled, tools, branchOf } = conversation;
  return {
    messages,
    sampled,
    ...(tools.length > 0 ? { tools } : {}),
    ...(branchOf === undefined ? {} : { branch_of: branchOf }),
  };
}

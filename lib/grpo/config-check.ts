// What no single field of GRPOConfig can tell: combinations that contradict each other, and advice on those that rarely mean
// what was meant.

import { show } from "../checks.js";
import { GrpoError } from "../errors.js";
import { regexExpression } from "../grammar/regex.js";
import { checkRunOptions } from "../run/check-options.js";
import { checkModelInit } from "../run/trained-model.js";
import { batchSizes, type GRPOConfigFields, samplesOnServers } from "./config-fields.js";
import { checkBounds, checkCorrectedLoss } from "./importance-sampling.js";

/** What no single field can tell: each message names the fields, their values and the nearest that work. */
export function checkCombinations(config: GRPOConfigFields): void {
  checkModelInit("GRPOConfig", config);
  checkWeights(config);
  checkBestMetric(config);
  checkRunOptions("GRPOConfig", config);
  if (config.logCompletionsHubRepo !== null && !config.logTo.includes("jsonl")) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: logCompletionsHubRepo needs the completions that logTo ${show(config.logTo)} does not write`,
      {
        hint: 'add "jsonl" to logTo',
      },
    );
  }
  checkGenerationBatch(config);
  const { numGenerations: groupSize } = config;
  const { completionsPerGeneration, slicesPerGeneration: slices } = batchSizes(config);
  if (groupSize < 2) {
    throw new GrpoError("BAD_OPTION", `GRPOConfig: numGenerations ${groupSize} gives no group to compare within`, {
      hint: "use 2 or more completions per prompt",
    });
  }
  if (completionsPerGeneration % groupSize !== 0) {
    const { perDeviceTrainBatchSize: batch } = config;
    const own = config.generationBatchSize !== null || config.stepsPerGeneration !== null;
    const name = own ? "stepsPerGeneration" : "gradientAccumulationSteps";
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: perDeviceTrainBatchSize ${batch} × ${name} ${slices} = ${completionsPerGeneration} ` +
        `completions a generation, which numGenerations ${groupSize} does not divide`,
      { hint: `nearest that work: ${nearestDivisors(completionsPerGeneration, groupSize, batch, name)}` },
    );
  }
  checkTerms(config);
  checkForm(config);
  checkAhead(config);
  checkBounds(config);
  if (samplesOnServers(config)) checkCorrectedLoss(config);
}

/** The form of completions. */
function checkForm(config: GRPOConfigFields): void {
  if (config.vllmStructuredOutputsRegex === null) return;
  // Servers read it by themselves, and may know more.
  if (!samplesOnServers(config)) regexExpression(config.vllmStructuredOutputsRegex);
}

/** Sampling ahead of the trainer. */
function checkAhead({ maxStaleness, dynamicSampling }: GRPOConfigFields): void {
  if (maxStaleness === 0 || !dynamicSampling) return;
  const text = `GRPOConfig: maxStaleness ${maxStaleness} with dynamicSampling true: which prompts come next is known only when those before them are scored`;
  throw new GrpoError("BAD_OPTION", text, { hint: "set maxStaleness to 0, or leave dynamicSampling out" });
}

/** Terms of the loss that contradict each other. */
function checkTerms(config: GRPOConfigFields): void {
  if (config.syncRefModel && config.beta === 0) {
    throw new GrpoError("BAD_OPTION", "GRPOConfig: syncRefModel true with beta 0 has no reference model to move", {
      hint: "set beta above 0, or leave syncRefModel out",
    });
  }
  const { entropyCoefMin: min, entropyCoefMax: max } = config;
  if (config.useAdaptiveEntropy && min > max) {
    throw new GrpoError("BAD_OPTION", `GRPOConfig: entropyCoefMin ${min} is above entropyCoefMax ${max}`, {
      hint: "swap them",
    });
  }
}

/** Settings that work and that their inventors did not mean; TRL warns of the same ones. */
export function adviceOn({
  lossType,
  importanceSamplingLevel: level,
  topP,
  topK,
  minP,
  repetitionPenalty,
  lrSchedulerType,
  warmupSteps,
  useVllm,
  vllmMode,
  maxStaleness,
}: GRPOConfigFields): string[] {
  const shapes = [
    ...(topP < 1 ? [`topP ${topP}`] : []),
    ...(topK > 0 ? [`topK ${topK}`] : []),
    ...(minP ? [`minP ${minP}`] : []),
    ...(repetitionPenalty !== 1 ? [`repetitionPenalty ${repetitionPenalty}`] : []),
  ];
  const byLength = ["bnpo", "dr_grpo", "dapo", "cispo"].includes(lossType);
  return [
    ...(lrSchedulerType === "constant" && warmupSteps > 0
      ? [
          `warmupSteps ${warmupSteps} has no effect: lrSchedulerType "constant_with_warmup" has a warm-up, "constant" none`,
        ]
      : []),
    ...(shapes.length > 0 ? [`${shapes.join(", ")}: training takes log-probabilities without it, as TRL does`] : []),
    ...(useVllm && vllmMode === "colocate"
      ? [
          'useVllm has no effect with vllmMode "colocate": the engine samples in this process; "server" samples on servers',
        ]
      : []),
    ...(maxStaleness > 0
      ? [
          `maxStaleness ${maxStaleness}: the ratio of the loss is to the weights that sampled, and the options vllmImportanceSampling… have no part in it`,
        ]
      : []),
    ...(lossType === "luspo" && level === "token" ? ['luspo is meant for importanceSamplingLevel "sequence"'] : []),
    ...(lossType === "vespo" && level === "sequence"
      ? ['vespo weighs completions by itself; importanceSamplingLevel "token" is meant']
      : []),
    ...(byLength && level === "sequence"
      ? [`with importanceSamplingLevel "sequence", ${lossType} weighs completions by length; GSPO has lossType "grpo"`]
      : []),
  ];
}

function nearestDivisors(completions: number, groupSize: number, batch: number, name: string): string {
  const divisors = Array.from({ length: completions }, (_, i) => i + 1).filter((d) => d >= 2 && completions % d === 0);
  const nearest = divisors.sort((a, b) => Math.abs(a - groupSize) - Math.abs(b - groupSize)).slice(0, 2);
  const choices = nearest.length > 0 ? [`numGenerations ${nearest.sort((a, b) => a - b).join(" or ")}`] : [];
  let accumulation = Math.max(1, Math.round(completions / batch));
  while ((accumulation * batch) % groupSize !== 0) accumulation++;
  return [...choices, `${name} ${accumulation}`].join(", or ");
}

/** Names of metrics that only a training step has. */
const ofSteps =
  /^(loss|policy_loss|entropy|entropy_coef|kl|grad_norm|learning_rate|step_time)$|^(.*clip_ratio|vespo|sampling|sample|time|memory)(\/|$)/;

function checkBestMetric(config: GRPOConfigFields): void {
  const metric = config.metricForBestModel?.replace(/^eval_/, "");
  if (metric !== undefined && ofSteps.test(metric)) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: metricForBestModel ${show(metric)}: an evaluation samples and rewards, and computes no loss`,
      {
        hint: 'leave it out for the reward, or name another metric of an evaluation, such as "rewards/<function>/mean"',
      },
    );
  }
}

function checkWeights(config: GRPOConfigFields): void {
  const { rewardWeights, rewardFuncsWeights } = config;
  if (rewardWeights && rewardFuncsWeights && JSON.stringify(rewardWeights) !== JSON.stringify(rewardFuncsWeights)) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: rewardWeights ${show(rewardWeights)} and rewardFuncsWeights ${show(rewardFuncsWeights)} differ`,
      { hint: "they are two names of one option; keep rewardWeights" },
    );
  }
}

/** stepsPerGeneration and generationBatchSize say the same thing in two units. */
function checkGenerationBatch(config: GRPOConfigFields): void {
  const { generationBatchSize: size, stepsPerGeneration: steps, perDeviceTrainBatchSize: batch } = config;
  if (size !== null && steps !== null) {
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: generationBatchSize ${size} and stepsPerGeneration ${steps} are both set; each follows from the other`,
      { hint: "keep one of them" },
    );
  }
  if (size !== null && size % batch !== 0) {
    const below = Math.max(batch, Math.floor(size / batch) * batch);
    throw new GrpoError(
      "BAD_OPTION",
      `GRPOConfig: generationBatchSize ${size} is not a multiple of perDeviceTrainBatchSize ${batch}`,
      { hint: `nearest that work: ${[...new Set([below, Math.ceil(size / batch) * batch])].join(" or ")}` },
    );
  }
}

// The reward functions that come with the library, under one name: rewards.thinkFormat, rewards.perSample(…), …

import { accuracy, reasoningAccuracy } from "./accuracy.js";
import { binaryCode, code } from "./code/code.js";
import { cfCode } from "./code/codeforces.js";
import { ioiCode } from "./code/ioi.js";
import { answerFormat, codeFormat, reasoningSteps, tagCount, thinkFormat } from "./format.js";
import { cosineScaled, lengthPenalty, softOverlongPunishment } from "./length.js";
import { model } from "./model.js";
import { perSample } from "./per-sample.js";
import { repetitionPenalty } from "./repetition.js";
import { worker } from "./worker.js";

/**
 * The reward functions that come with the library; docs/rewards.md describes them.
 *
 * @namespace
 */
export const rewards = {
  accuracy,
  reasoningAccuracy,
  thinkFormat,
  answerFormat,
  codeFormat,
  tagCount,
  reasoningSteps,
  softOverlongPunishment,
  cosineScaled,
  lengthPenalty,
  repetitionPenalty,
  code,
  binaryCode,
  ioiCode,
  cfCode,
  perSample,
  model,
  worker,
} as const;

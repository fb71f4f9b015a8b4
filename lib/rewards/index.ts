// The reward functions that come with the library, under one name: rewards.thinkFormat, rewards.perSample(…), …

import { accuracy, reasoningAccuracy } from "./accuracy.js";
import { answerFormat, codeFormat, reasoningSteps, tagCount, thinkFormat } from "./format.js";
import { cosineScaled, lengthPenalty, softOverlongPunishment } from "./length.js";
import { model } from "./model.js";
import { perSample } from "./per-sample.js";
import { repetitionPenalty } from "./repetition.js";
import { worker } from "./worker.js";

export const rewards = {
  ...{ accuracy, reasoningAccuracy },
  ...{ thinkFormat, answerFormat, codeFormat, tagCount, reasoningSteps },
  ...{ softOverlongPunishment, cosineScaled, lengthPenalty, repetitionPenalty },
  ...{ perSample, model, worker },
} as const;

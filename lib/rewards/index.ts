// The reward functions that come with the library, under one name: rewards.thinkFormat, rewards.perSample(…), …

import { accuracy, reasoningAccuracy } from "./accuracy.js";
import { softOverlongPunishment, thinkFormat } from "./format.js";
import { perSample } from "./per-sample.js";

export const rewards = { accuracy, reasoningAccuracy, perSample, thinkFormat, softOverlongPunishment } as const;

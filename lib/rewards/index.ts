// The reward functions that come with the library, under one name: rewards.thinkFormat, rewards.perSample(…), …

import { softOverlongPunishment, thinkFormat } from "./format.js";
import { perSample } from "./per-sample.js";

export const rewards = { perSample, thinkFormat, softOverlongPunishment } as const;

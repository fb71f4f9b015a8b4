// The reward functions that come with the library, one line a file. rewards.thinkFormat and so on: each is described where it is
// written, and what is here is public.

export { accuracy, reasoningAccuracy } from "./accuracy.js";
export { binaryCode, code } from "./code/code.js";
export { cfCode } from "./code/codeforces.js";
export { ioiCode } from "./code/ioi.js";
export { answerFormat, codeFormat, reasoningSteps, tagCount, thinkFormat } from "./format.js";
export { cosineScaled, lengthPenalty, openR1CosineScaled, softOverlongPunishment } from "./length.js";
export { model } from "./model.js";
export { perSample } from "./per-sample.js";
export { repetitionPenalty } from "./repetition.js";
export { test } from "./test.js";
export { worker } from "./worker.js";

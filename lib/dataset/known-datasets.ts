// The rows of data sets that people train on with GRPO, so that loadDataset gives them their types by the id.

import type { Message } from "../types.js";

/** Row types by Hub id; can be added to by declaration merging. */
export interface KnownDatasets {
  "AI-MO/NuminaMath-TIR": { problem: string; solution: string; messages: Message[] };
  "openai/gsm8k": { question: string; answer: string };
  "DigitalLearningGmbH/MATH-lighteval": { problem: string; level: string; type: string; solution: string };
}

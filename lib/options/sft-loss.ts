// The options of the loss of supervised fine-tuning, each in one place: SFTConfig, the calls sftForwardBackward and sftEvaluate, and
// what the engine is given are this table. The engine's own list is SftOptions in native/train/losses/sft_loss.h; the formulas stand
// there too.

import type { FieldTypes } from "../zod.js";
import { type GivenOptions, type OptionsSchema, optionsSchema, parseOptions, type ResolvedOptions } from "./fields.js";
import { type MicroBatchFields, microBatchFields } from "./loss.js";

export const SFT_LOSS_TYPES = ["nll", "dft"] as const;
/** TRL's names of the losses; the formula of each is in native/train/losses/sft_loss.h. */
export type SftLossType = (typeof SFT_LOSS_TYPES)[number];

/** Of SFTConfig and of every call alike, under TRL's names. */
export const sftLossFields = ({ z }: FieldTypes) => ({
  /** "nll": the negative log-likelihood of each token. "dft": the same times the token's probability, which counts as a constant (Dynamic Fine-Tuning). Default "nll". */
  lossType: z.enum(SFT_LOSS_TYPES).default("nll"),
});

/** What one call takes besides. */
const callFields = ({ z }: FieldTypes) => ({
  /** The token count to divide by: that of the whole optimizer step. Default 0: the tokens of this batch that count. */
  lossTokens: z.number().min(0).default(0),
  /** Dropout masks are a function of it. Default 0. */
  dropoutSeed: z.int().min(0).default(0),
});

type CallFields = ReturnType<typeof sftLossFields> & MicroBatchFields & ReturnType<typeof callFields>;

export const sftLossSchema: () => OptionsSchema<CallFields> = optionsSchema((types) => ({
  ...sftLossFields(types),
  ...microBatchFields(types),
  ...callFields(types),
}));

/** The loss part of SFTConfig, and what one call has besides. */
export type SftLossOptions = GivenOptions<CallFields>;

/** As the engine takes them. */
export type NativeSftLoss = ResolvedOptions<CallFields> & { temperature: number };

/** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function toNativeSftLoss(where: string, options: SftLossOptions): NativeSftLoss {
  return { ...parseOptions(where, sftLossSchema(), options), temperature: 1 };
}

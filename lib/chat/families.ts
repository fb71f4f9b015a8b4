// How each family of models writes its turns: the marks of reasoning and calls, and the tokens that end a turn. A family is recognized
// by what its chat template writes.

import type { ChatFamilyName } from "./chat-format.js";
import { literal, type Marker, sequence } from "./markers.js";
import type { PreparedCall } from "./prepare.js";
import {
  channelCall,
  deepseekCall,
  gemmaCall,
  glmCall,
  llamaCalls,
  mistralCalls,
  oneJsonCall,
  pythonCalls,
  type ReadCalls,
  recipientOf,
  xmlCall,
} from "./read-calls.js";
import { writeJsonCalls, writePythonCalls } from "./write-calls.js";

/** A stretch of a turn between two marks. */
export type Region =
  | { readonly kind: "content" | "reasoning"; readonly close: Marker }
  | {
      readonly kind: "call";
      /** Undefined where only the end of the turn closes it. */
      readonly close?: Marker;
      /** Whether the token that ends the turn closes it as well. */
      readonly endsWithTurn?: boolean;
      /** Whether the opening mark is part of the body. */
      readonly markIsBody?: boolean;
      readonly read: ReadCalls;
    };

export interface Opener {
  readonly mark: Marker;
  /** By the text before the mark, in formats where that is a header. */
  readonly region: Region | ((header: string) => Region);
}

export interface ChatFamily {
  readonly name: ChatFamilyName;
  /** A chat template that has one of these texts is of this family. */
  readonly signs: readonly string[];
  readonly openers: readonly Opener[];
  /** Marks outside of regions that are no text. */
  readonly silent: readonly string[];
  /** Whether text outside of regions is a header of the next one; else it is content. */
  readonly headers: boolean;
  /** Tokens that end a turn, beyond the model's own. */
  readonly ends: readonly string[];
  /** Of those, the ones that also begin what follows: nothing else closes the turn before them. */
  readonly endsThatBegin: readonly string[];
  /** Tokens that close a turn which is not the last, in place of the one that ended it. */
  readonly closers: readonly string[];
  /** Marks behind which a turn goes on, beyond the header that the template writes before one. */
  readonly continues: readonly string[];
  /** Closes the reasoning of a turn that was cut off in it, where the turn's end does not. */
  readonly closeReasoning?: string;
  /** Writes a call into the content, for those of the family's templates that pass over calls. */
  readonly write?: (calls: readonly PreparedCall[]) => string;
}

function reasoning(open: string, close: string): Opener {
  return { mark: literal(open), region: { kind: "reasoning", close: literal(close) } };
}

function calls(open: string, close: string, read: ReadCalls): Opener {
  return { mark: literal(open), region: { kind: "call", close: literal(close), read } };
}

const THINK = reasoning("<think>", "</think>");
const CHATML_ENDS: readonly string[] = ["<|im_end|>", "<|endoftext|>"];

function family(
  name: ChatFamilyName,
  parts: Pick<ChatFamily, "signs" | "openers" | "ends"> & Partial<ChatFamily>,
): ChatFamily {
  return { name, silent: [], headers: false, endsThatBegin: [], closers: [], continues: [], ...parts };
}

const HARMONY_CLOSE = literal("<|end|>", "<|call|>", "<|return|>", "<|start|>");

function harmonyRegion(header: string): Region {
  if (recipientOf(header) !== undefined) {
    return { kind: "call", close: HARMONY_CLOSE, endsWithTurn: true, read: channelCall };
  }
  return { kind: /<\|channel\|>\s*analysis/.test(header) ? "reasoning" : "content", close: HARMONY_CLOSE };
}

/** In this order: a template may also have the signs of a later one. */
const FAMILIES: readonly ChatFamily[] = [
  family("gpt-oss", {
    signs: ["<|channel|>analysis"],
    openers: [{ mark: literal("<|message|>"), region: harmonyRegion }],
    headers: true,
    ends: ["<|return|>", "<|call|>", "<|endoftext|>"],
    closers: ["<|end|>"],
  }),
  family("qwen3-coder", {
    signs: ["<parameter="],
    closeReasoning: "</think>",
    openers: [THINK, calls("<tool_call>", "</tool_call>", xmlCall)],
    ends: CHATML_ENDS,
  }),
  family("glm", {
    signs: ["<arg_key>"],
    closeReasoning: "</think>",
    openers: [THINK, calls("<tool_call>", "</tool_call>", glmCall)],
    ends: ["<|user|>", "<|observation|>", "<|endoftext|>"],
    endsThatBegin: ["<|user|>", "<|observation|>"],
  }),
  family("deepseek", {
    signs: ["<｜tool▁calls▁begin｜>", "<｜Assistant｜>"],
    closeReasoning: "</think>",
    openers: [THINK, calls("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", deepseekCall)],
    silent: ["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
    ends: ["<｜end▁of▁sentence｜>"],
    continues: ["<｜tool▁outputs▁end｜>"],
  }),
  family("gemma4", {
    signs: ["<|tool_call>call:"],
    closeReasoning: "<channel|>",
    openers: [reasoning("<|channel>thought\n", "<channel|>"), calls("<|tool_call>", "<tool_call|>", gemmaCall)],
    ends: ["<turn|>", "<|tool_response>", "<eos>"],
    endsThatBegin: ["<|tool_response>"],
    continues: ["<tool_response|>"],
  }),
  family("lfm2", {
    signs: ["<|tool_call_start|>", "<|tool_list_start|>"],
    closeReasoning: "</think>",
    openers: [THINK, calls("<|tool_call_start|>", "<|tool_call_end|>", pythonCalls)],
    ends: CHATML_ENDS,
    write: writePythonCalls,
  }),
  family("mistral", {
    signs: ["[TOOL_CALLS]"],
    closeReasoning: "[/THINK]",
    openers: [
      reasoning("[THINK]", "[/THINK]"),
      { mark: literal("[TOOL_CALLS]"), region: { kind: "call", endsWithTurn: true, read: mistralCalls } },
    ],
    ends: ["</s>"],
  }),
  family("hermes", {
    signs: ["<tool_call>"],
    closeReasoning: "</think>",
    openers: [THINK, calls("<tool_call>", "</tool_call>", oneJsonCall)],
    ends: CHATML_ENDS,
    write: writeJsonCalls,
  }),
  family("llama3", {
    signs: ['{"name": function name, "parameters"'],
    openers: [
      {
        mark: sequence(
          "\\{",
          "\\s*",
          ...'"name"',
          "\\s*",
          ":",
          "\\s*",
          '"',
          '[^"]{1,256}',
          '"',
          "\\s*",
          ",",
          "\\s*",
          ...'"parameters"',
          "\\s*",
          ":",
        ),
        region: { kind: "call", endsWithTurn: true, markIsBody: true, read: llamaCalls },
      },
    ],
    silent: ["<|python_tag|>"],
    ends: ["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"],
  }),
];

/** Of many templates. One that is not in the vocabulary ends nothing; one that may be markup, such as </s>, ends a turn only as EOS. */
const ANY_ENDS = [...CHATML_ENDS, "<end_of_turn>", "<|end|>", "<|END_OF_TURN_TOKEN|>", "<|eot_id|>"];

const THINKING = family("think", { signs: ["<think>"], closeReasoning: "</think>", openers: [THINK], ends: ANY_ENDS });
const PLAIN = family("plain", { signs: [], openers: [], ends: ANY_ENDS });

export const CHAT_FAMILIES: ReadonlyMap<string, ChatFamily> = new Map(
  [...FAMILIES, THINKING, PLAIN].map((known) => [known.name, known]),
);

/** The family of a chat template; "plain" where it has no signs of another. */
export function familyOf(template: string): ChatFamily {
  return [...FAMILIES, THINKING].find(({ signs }) => signs.some((sign) => template.includes(sign))) ?? PLAIN;
}

// Chat templates: which one applies, and rendering it. The Jinja engine is @huggingface/jinja; this file supplies what
// transformers supplies around it (variables that are always defined, special tokens, continued messages). It knows
// nothing of tokens; the text it returns is encoded without adding special tokens.

import { Template } from "@huggingface/jinja";
import { GrpoError, nearestName, reasonOf } from "../errors.js";
import type { Message } from "../types.js";

/** One template, or several by name, as transformers keeps them. */
export type ChatTemplates = string | Readonly<Record<string, string>>;

export interface ChatTemplateOptions {
  /** End with the header of an assistant turn, so that the model answers. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** Leave the last message open, so that the model continues it. Default false. */
  readonly continueFinalMessage?: boolean;
  /** JSON schemas of the functions that the model may call. */
  readonly tools?: readonly unknown[] | null;
  readonly documents?: readonly unknown[] | null;
  /** A Jinja template, or the name of one of the tokenizer's templates. */
  readonly chatTemplate?: string;
  /** Every other key is a variable of the template, by its own name (for example `enable_thinking`). */
  readonly [variable: string]: unknown;
}

export type CompiledTemplate = (variables: Readonly<Record<string, unknown>>) => string;

// Names that the Jinja environment defines itself and does not let a caller define again.
const RESERVED_VARIABLES = new Set(["true", "false", "none", "True", "False", "None"]);
const RESERVED_FUNCTIONS = new Set(["raise_exception", "range", "strftime_now", "namespace"]);
const OWN_VARIABLES = new Set(["messages", "add_generation_prompt"]);

// Marks the end of a continued message; the text after it is what the template adds to close the turn.
const CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG ";

/** The template to use: the one asked for, else `tool_use` when there are tools, else `default`. */
export function selectTemplate(templates: ChatTemplates | undefined, options: ChatTemplateOptions): string {
  const asked = options.chatTemplate;
  if (templates === undefined || typeof templates === "string") {
    const template = asked ?? templates;
    if (template !== undefined) return template;
    throw new GrpoError("BAD_TEMPLATE", "This tokenizer has no chat template.", {
      hint: "Use plain text prompts, pass { chatTemplate }, or put a chat_template.jinja into the model's folder.",
    });
  }
  const names = Object.keys(templates).sort();
  if (asked !== undefined) return templates[asked] ?? templateText(asked, names);
  const chosen = (options.tools ? templates.tool_use : undefined) ?? templates.default;
  if (chosen !== undefined) return chosen;
  throw new GrpoError("BAD_TEMPLATE", `This tokenizer has several chat templates and none is the default.`, {
    hint: `Pass { chatTemplate } with one of: ${names.join(", ")}.`,
  });
}

/** A template given as text. A single word without Jinja marks is a mistyped name, not a template. */
function templateText(asked: string, names: readonly string[]): string {
  if (asked.includes("{") || /\s/.test(asked)) return asked;
  const nearest = nearestName(asked, names);
  throw new GrpoError("BAD_TEMPLATE", `This tokenizer has no chat template named "${asked}".`, {
    hint: `It has: ${names.join(", ")}.${nearest ? ` Did you mean "${nearest}"?` : ""}`,
  });
}

export function compileTemplate(text: string): CompiledTemplate {
  let template: Template;
  try {
    // Python's jinja2 reads every kind of line end as \n.
    template = new Template(text.replace(/\r\n?/g, "\n"));
  } catch (thrown) {
    throw new GrpoError("BAD_TEMPLATE", `The chat template cannot be parsed: ${reasonOf(thrown)}`, { cause: thrown });
  }
  return (variables) => {
    try {
      return template.render({ ...variables });
    } catch (thrown) {
      // raise_exception in a template and a failure of the engine arrive alike; the text tells them apart.
      throw new GrpoError("BAD_TEMPLATE", `The chat template stopped with: ${reasonOf(thrown)}`, {
        hint: "Change the conversation to what the template accepts, or pass another { chatTemplate }.",
        cause: thrown,
      });
    }
  };
}

/** Renders a conversation. `specialTokens` are variables like `bos_token`; the options' own variables win over them. */
export function renderConversation(
  render: CompiledTemplate,
  messages: readonly Message[],
  options: ChatTemplateOptions,
  specialTokens: Readonly<Record<string, string>>,
): string {
  checkMessages(messages);
  const { addGenerationPrompt, continueFinalMessage, tools, documents, chatTemplate: _, ...own } = options;
  checkVariables(own);
  if (addGenerationPrompt && continueFinalMessage) {
    throw new GrpoError("BAD_OPTION", "addGenerationPrompt and continueFinalMessage exclude each other.", {
      hint: "A new assistant turn is opened, or the last message is continued; choose one.",
    });
  }
  // transformers always passes these four, so that `tools is none` and `tools is defined` mean the same here.
  const variables = {
    ...specialTokens,
    ...own,
    tools: tools ?? null,
    documents: documents ?? null,
    add_generation_prompt: addGenerationPrompt ?? false,
  };
  if (!continueFinalMessage) return render({ ...variables, messages });
  return renderOpenEnded(render, messages, variables);
}

function renderOpenEnded(
  render: CompiledTemplate,
  messages: readonly Message[],
  variables: Readonly<Record<string, unknown>>,
): string {
  const last = messages[messages.length - 1] as Message;
  const marked = [...messages.slice(0, -1), { ...last, content: last.content + CONTINUE_TAG }];
  const text = render({ ...variables, messages: marked });
  const end = text.lastIndexOf(CONTINUE_TAG.trim());
  if (end < 0 || !text.includes(last.content.trim())) {
    throw new GrpoError(
      "BAD_TEMPLATE",
      "The chat template drops part of the last message, so it cannot be continued.",
      {
        hint: "Leave continueFinalMessage out, or use a template that keeps the message as it is.",
      },
    );
  }
  // A template that trims messages has eaten the tag's space; then the message's own trailing space must go as well.
  const kept = text.startsWith(CONTINUE_TAG, end);
  return kept ? text.slice(0, end) : text.slice(0, end).trimEnd();
}

function checkMessages(messages: readonly Message[]): void {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new GrpoError("BAD_INPUT", "A conversation must be a non-empty array of messages.", {
      hint: 'For example [{ role: "user", content: "What is 2 + 2?" }].',
    });
  }
  messages.forEach((message: unknown, index) => {
    const role = (message as Message | null)?.role;
    if (typeof message !== "object" || typeof role !== "string") {
      throw new GrpoError("BAD_INPUT", `Message ${index} has no role: ${JSON.stringify(message)?.slice(0, 80)}`, {
        hint: 'Every message is an object with "role" and "content".',
      });
    }
  });
}

function checkVariables(own: Readonly<Record<string, unknown>>): void {
  for (const name of Object.keys(own)) {
    if (RESERVED_VARIABLES.has(name) || RESERVED_FUNCTIONS.has(name)) {
      throw new GrpoError("BAD_OPTION", `"${name}" is a built-in of chat templates and cannot be passed to them.`);
    }
    if (OWN_VARIABLES.has(name)) {
      const hint = name === "messages" ? "Pass the conversation as the first argument." : "Use addGenerationPrompt.";
      throw new GrpoError("BAD_OPTION", `"${name}" cannot be passed as a variable of the chat template.`, { hint });
    }
  }
}

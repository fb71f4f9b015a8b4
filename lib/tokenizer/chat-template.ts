// Chat templates: which one applies, and rendering it. This file supplies what transformers supplies around a Jinja
// template (messages without null keys, variables that are always defined, special tokens, continued messages). It knows
// nothing of tokens; the text it returns is encoded without adding special tokens.

import { GrpoError, isSameName, nearestName, reasonOf } from "../errors.js";
import { toSnake } from "../options/names.js";
import { isPythonSpace, trimText } from "../text.js";
import type { Message } from "../types.js";
import { RaisedByTemplate } from "./jinja/errors.js";
import { compileJinja, type Rendered } from "./jinja/template.js";

/** One template, or several by name, as transformers keeps them. */
export type ChatTemplates = string | Readonly<Record<string, string>>;

/** How a conversation is rendered. Any other key is a variable of the template. */
export interface ChatTemplateOptions {
  /** End with the header of an assistant turn, so that the model answers. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** Leave the last message open, so that the model continues it; a string names the field to continue. Default false. */
  readonly continueFinalMessage?: boolean | string;
  /** JSON schemas of the functions that the model may call. */
  readonly tools?: readonly unknown[] | null;
  /** Documents that the model may draw on, for templates that write them. */
  readonly documents?: readonly unknown[] | null;
  /** A Jinja template, or the name of one of the tokenizer's templates. */
  readonly chatTemplate?: string;
  /**
   * Read control tokens such as <|im_end|> in messages, tools, documents and variables as text, so that only the template itself
   * writes them; needs `tokenize: true`. A template that joins a token from parts of a message, and keys of objects, are not
   * covered. Default false.
   */
  readonly sanitizeControlTokens?: boolean;
  /** Every other key is a variable of the template, by its own name (for example `enable_thinking`). */
  readonly [variable: string]: unknown;
}

export interface CompiledTemplate {
  readonly source: string;
  render(variables: Readonly<Record<string, unknown>>): Rendered;
}

// Names that the Jinja environment defines itself and does not let a caller define again.
const RESERVED_VARIABLES = new Set(["true", "false", "none", "True", "False", "None"]);
const RESERVED_FUNCTIONS = new Set(["raise_exception", "range", "strftime_now", "namespace"]);

/** The options that are no variables. */
export const CHAT_TEMPLATE_OPTIONS: readonly string[] = [
  "addGenerationPrompt",
  "continueFinalMessage",
  "tools",
  "documents",
  "chatTemplate",
  "sanitizeControlTokens",
];

/** Arguments of transformers' apply_chat_template that are no variables of a template either, and what to write here. */
const FOREIGN: Readonly<Record<string, string>> = {
  messages: "pass the conversation as the first argument",
  conversation: "pass the conversation as the first argument",
  add_generation_prompt: "use addGenerationPrompt",
  continue_final_message: "use continueFinalMessage",
  chat_template: "use chatTemplate",
  sanitize_control_tokens: "use sanitizeControlTokens",
  return_assistant_tokens_mask: "use returnAssistantMask",
  return_tensors: "leave it out, and use tokenize: true for a list of token ids",
  return_dict: "leave it out, and use tokenize: true for a list of token ids",
  padding: "leave it out: nothing is padded",
  truncation: "leave it out, and cut the list of token ids",
  max_length: "leave it out, and cut the list of token ids",
  tokenizer_kwargs: "leave it out",
};

// Names under which clients give the reasoning of a message. Templates read the first, those of gpt-oss the second.
const REASONING_FIELDS: readonly string[] = ["reasoning_content", "thinking", "reasoning"];

// Marks the end of a continued message; the text after it is what the template adds to close the turn.
const CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG ";

/** The template to use: the one asked for, else `tool_use` when there are tools, else `default`. */
export function selectTemplate(templates: ChatTemplates | undefined, options: ChatTemplateOptions): string {
  const asked = options.chatTemplate;
  if (templates === undefined || typeof templates === "string") {
    const template = asked ?? templates;
    if (template !== undefined) return template;
    throw new GrpoError("BAD_TEMPLATE", "this tokenizer has no chat template", {
      hint: "use plain text prompts, pass { chatTemplate }, or put a chat_template.jinja into the model's folder",
    });
  }
  const names = Object.keys(templates).sort();
  if (asked !== undefined) return templates[asked] ?? templateText(asked, names);
  const chosen = (options.tools ? templates.tool_use : undefined) ?? templates.default;
  if (chosen !== undefined) return chosen;
  throw new GrpoError("BAD_TEMPLATE", `this tokenizer has several chat templates and none is the default`, {
    hint: `pass { chatTemplate } with one of: ${names.join(", ")}`,
  });
}

/** A template given as text. A single word without Jinja marks is a mistyped name, not a template. */
function templateText(asked: string, names: readonly string[]): string {
  if (asked.includes("{") || /\s/.test(asked)) return asked;
  const nearest = nearestName(asked, names);
  throw new GrpoError("BAD_TEMPLATE", `this tokenizer has no chat template named "${asked}"`, {
    hint: `use one of ${names.join(", ")}${nearest ? `; did you mean "${nearest}"?` : ""}`,
  });
}

export function compileTemplate(source: string): CompiledTemplate {
  let run: ReturnType<typeof compileJinja>;
  try {
    run = compileJinja(source);
  } catch (thrown) {
    throw new GrpoError("BAD_TEMPLATE", `the chat template cannot be parsed: ${reasonOf(thrown)}`, { cause: thrown });
  }
  const render = (variables: Readonly<Record<string, unknown>>) => {
    try {
      return run(variables);
    } catch (thrown) {
      if (thrown instanceof RaisedByTemplate) {
        throw new GrpoError("BAD_TEMPLATE", `the chat template refuses this conversation: ${thrown.message}`, {
          hint: "change the conversation to what the template accepts, or pass another { chatTemplate }",
          cause: thrown,
        });
      }
      throw new GrpoError("BAD_TEMPLATE", `the chat template stopped with: ${reasonOf(thrown)}`, {
        hint: "compare the two: the template takes for granted something that this conversation does not have",
        cause: thrown,
      });
    }
  };
  return { source, render };
}

/** Renders a conversation. `specialTokens` are variables like `bos_token`; the options' own variables win over them. */
export function renderConversation(
  template: CompiledTemplate,
  messages: readonly Message[],
  options: ChatTemplateOptions,
  specialTokens: Readonly<Record<string, string>>,
): Rendered {
  checkMessages(messages);
  const { addGenerationPrompt, continueFinalMessage, tools, documents, chatTemplate: _, ...own } = options;
  checkVariables(own, template.source);
  checkTools(tools);
  checkDocuments(documents);
  if (addGenerationPrompt && continueFinalMessage) {
    throw new GrpoError("BAD_OPTION", "addGenerationPrompt and continueFinalMessage exclude each other", {
      hint: "choose one: a new turn of the assistant is opened, or the last message is continued",
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
  const given = messages.map(templateMessage);
  if (!continueFinalMessage) return template.render({ ...variables, messages: given });
  const field = continueFinalMessage === true ? "content" : continueFinalMessage;
  const { marked, text } = markLastMessage(given, field, template);
  return cutAtMark(template.render({ ...variables, messages: marked }), text);
}

type TemplateMessage = Readonly<Record<string, unknown>>;

/** A message as its template sees it: null keys are left out, and reasoning has the names that templates read. */
function templateMessage(message: Message): TemplateMessage {
  const given = Object.fromEntries(
    Object.entries(message).filter(([, value]) => value !== null && value !== undefined),
  );
  const field = REASONING_FIELDS.find((name) => Object.hasOwn(given, name));
  if (field === undefined) return given;
  return { thinking: given[field], ...given, reasoning_content: given[field] };
}

/** The messages with a mark behind the text to continue, and that text. */
function markLastMessage(
  messages: readonly TemplateMessage[],
  field: string,
  template: CompiledTemplate,
): { readonly marked: readonly TemplateMessage[]; readonly text: string } {
  const last = messages[messages.length - 1] as TemplateMessage;
  const value = last[field];
  // Reasoning is there under several names; the template reads one of them.
  const copies = REASONING_FIELDS.includes(field) ? REASONING_FIELDS.filter((name) => last[name] === value) : [field];
  if (!copies.some((name) => template.source.includes(name))) {
    throw new GrpoError("BAD_OPTION", `continueFinalMessage is "${field}", and the chat template has no such field`);
  }
  const withField = (changed: unknown): readonly TemplateMessage[] => [
    ...messages.slice(0, -1),
    { ...last, ...Object.fromEntries(copies.map((name) => [name, changed])) },
  ];
  if (typeof value === "string") return { marked: withField(value + CONTINUE_TAG), text: value };
  const parts: readonly unknown[] = Array.isArray(value) ? value : [];
  const at = parts.findLastIndex((part) => isTextPart(part));
  const part = parts[at];
  if (!isTextPart(part)) {
    throw new GrpoError("BAD_INPUT", `continueFinalMessage is set, and the last message has no text in "${field}"`);
  }
  const changed = parts.with(at, { ...part, text: part.text + CONTINUE_TAG });
  return { marked: withField(changed), text: part.text };
}

function isTextPart(part: unknown): part is { readonly text: string } {
  return typeof part === "object" && part !== null && typeof (part as { text?: unknown }).text === "string";
}

function cutAtMark({ text: rendered, generated }: Rendered, last: string): Rendered {
  const end = rendered.lastIndexOf(CONTINUE_TAG.trim());
  if (end < 0 || !rendered.includes(trimText(last, isPythonSpace))) {
    throw new GrpoError("BAD_TEMPLATE", "the chat template drops part of the last message, so it cannot be continued", {
      hint: "leave continueFinalMessage out, or use a template that keeps the message as it is",
    });
  }
  // A template that trims messages has eaten the tag's space; then the message's own trailing space must go as well.
  const kept = rendered.startsWith(CONTINUE_TAG, end);
  const text = kept ? rendered.slice(0, end) : trimText(rendered.slice(0, end), isPythonSpace, "end");
  return { text, generated };
}

function checkMessages(messages: readonly Message[]): void {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new GrpoError("BAD_INPUT", "a conversation must be a non-empty array of messages", {
      hint: 'write for example [{ role: "user", content: "What is 2 + 2?" }]',
    });
  }
  messages.forEach((message: unknown, index) => {
    const role = (message as Message | null)?.role;
    if (typeof message !== "object" || typeof role !== "string") {
      throw new GrpoError("BAD_INPUT", `message ${index} has no role: ${JSON.stringify(message)?.slice(0, 80)}`, {
        hint: 'give every message "role" and "content"',
      });
    }
  });
}

/** Variables of templates are in snake_case: a name with capitals that no template has is a slip. */
function optionLike(name: string, source: string): string | undefined {
  if (!/[A-Z]/.test(name) || source.includes(name)) return undefined;
  if (source.includes(toSnake(name))) return `write ${toSnake(name)}`;
  const near = nearestName(name, CHAT_TEMPLATE_OPTIONS);
  return near === undefined ? undefined : `did you mean ${near}?`;
}

function checkTools(tools: readonly unknown[] | null | undefined): void {
  if (tools !== null && tools !== undefined && !Array.isArray(tools)) {
    throw new GrpoError("BAD_OPTION", "tools must be an array of JSON schemas of functions");
  }
  for (const tool of tools ?? []) {
    if (typeof tool === "object" && tool !== null && !Array.isArray(tool)) continue;
    // Python reads the types and the documentation of a function; at run time JavaScript's functions have neither.
    throw new GrpoError("BAD_OPTION", `a tool must be the JSON schema of a function, found a ${typeof tool}`, {
      hint: 'write for example { type: "function", function: { name, description, parameters: { type: "object", … } } }',
    });
  }
}

function checkDocuments(documents: readonly unknown[] | null | undefined): void {
  for (const document of documents ?? []) {
    if (typeof document === "object" && document !== null && !Array.isArray(document)) continue;
    throw new GrpoError("BAD_OPTION", "documents must be objects, for example { title, text }");
  }
}

/** A variable of a template that uses it is what its author named; other names may be those of options. */
function checkVariables(own: Readonly<Record<string, unknown>>, source: string): void {
  for (const name of Object.keys(own)) {
    if (RESERVED_VARIABLES.has(name) || RESERVED_FUNCTIONS.has(name)) {
      throw new GrpoError("BAD_OPTION", `"${name}" is a built-in of chat templates and cannot be passed to them`);
    }
    const hint =
      Object.entries(FOREIGN).find(([foreign]) => isSameName(foreign, name))?.[1] ?? optionLike(name, source);
    if (hint !== undefined) {
      throw new GrpoError("BAD_OPTION", `"${name}" cannot be passed as a variable of the chat template`, { hint });
    }
  }
}

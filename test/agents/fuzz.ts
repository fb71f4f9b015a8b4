// Random conversations through a real endpoint, recorded, and held against the log of the engine: every token that was drawn to the end of
// its turn is trained on once, in the context that it was drawn in, or counted with the reason why not.

import type { JsonObject, Tokenizer } from "grpo";
import { type RecordedTurns, RolloutRecorder } from "../../lib/agents/recorder.js";
import { samplesOf } from "../../lib/agents/samples.js";
import { Endpoint } from "../../lib/endpoint/endpoint.js";
import type { GenerationRequest } from "../../lib/endpoint/generator.js";
import type { AskedTurn } from "../../lib/endpoint/turn-recorder.js";
import type { Sample } from "../../lib/rollout/sample.js";
import { Client, dataOf } from "../endpoint/fake-generator.js";
import { type Draw, LoggingGenerator, lots } from "./logging-generator.js";
import { fieldsOf, type Lots, replyTo, rewritten, sentBack, turnText, words } from "./wild-client.js";

const PLAIN = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1, minNewTokens: undefined };
const UNTRAINED = "policy:untrained";

// biome-ignore lint/suspicious/noExplicitAny: messages of all shapes.
type Message = any;

/** What a client knows of its conversation. Answers to the same messages in the same words are one to it. */
interface Known {
  /** Answers that it went on from. */
  readonly used: string[];
  /** Those of requests that it was answered twice, and went on from the other one. */
  readonly unused: string[];
  /** Those that both of these requests gave it, in the same words. */
  readonly alike: string[];
  /** Requests that it sent again. */
  repeats: number;
}

export interface Conversation extends Known {
  readonly draws: readonly Draw[];
  /** Those of them that are no part of the task. */
  readonly untrained: ReadonlySet<Draw>;
  /** As its client knows it; undefined where it was cut off. */
  readonly answerOf: (draw: Draw) => string | undefined;
  readonly turns: RecordedTurns;
  readonly samples: readonly Sample[];
}

/** Remembers which requests were its own, and what they were answered. */
class NotingRecorder extends RolloutRecorder {
  readonly requests = new Map<GenerationRequest, { readonly model: string; readonly answers: string[] }>();

  override begin(asked: AskedTurn) {
    const recording = super.begin(asked);
    const answers: string[] = [];
    this.requests.set(recording.generation, { model: asked.model, answers });
    const said: typeof recording.said = (turn, message) => {
      answers[turn] = answerTo(asked.body, message);
      recording.said(turn, message);
    };
    return { ...recording, said };
  }
}

export class FuzzBench {
  readonly #endpoint: Endpoint;
  readonly #generator: LoggingGenerator;

  private constructor(endpoint: Endpoint, generator: LoggingGenerator) {
    this.#endpoint = endpoint;
    this.#generator = generator;
  }

  static async start(tokenizer: Tokenizer): Promise<FuzzBench> {
    const generator = new LoggingGenerator(tokenizer, (_, draw) => turnText(draw));
    generator.beforeToken = ({ ids }) => (ids.length % 3 === 0 ? new Promise(setImmediate) : undefined);
    const models = ["policy", UNTRAINED].map((name) => ({ name, adapter: undefined }));
    const parts = { generator, tokenizer, models, defaults: { ...PLAIN, maxNewTokens: undefined } };
    return new FuzzBench(await Endpoint.start(parts, { apiKey: "nobody" }), generator);
  }

  close(): Promise<void> {
    return this.#endpoint.abort();
  }

  async converse(seed: number): Promise<Conversation> {
    const recorder = new NotingRecorder({
      sampling: PLAIN,
      maxNewTokens: 200,
      stopIds: [],
      seed,
      untrainedModel: UNTRAINED,
    });
    const session = this.#endpoint.openSession({ recorder });
    const known: Known = { used: [], unused: [], alike: [], repeats: 0 };
    await talk(new Client(this.#endpoint.baseURL, session.apiKey), lots(seed + 1), known);
    const turns = recorder.finish();
    session.end();
    const draws = [...recorder.requests.keys()].flatMap((request) => this.#generator.take(request));
    const untrained = new Set(draws.filter(({ request }) => recorder.requests.get(request)?.model === UNTRAINED));
    const answerOf = ({ request, index }: Draw) => recorder.requests.get(request)?.answers[index];
    return { ...known, draws, untrained, answerOf, turns, samples: samplesOf(turns.tree, () => "").samples };
  }
}

async function talk(client: Client, draw: Lots, known: Known): Promise<void> {
  const system = draw(2) ? [{ role: "system", content: words(draw) }] : [];
  let messages: Message[] = [...system, { role: "user", content: words(draw) }];
  for (let left = 1 + draw(5); left > 0; left--) {
    const model = draw(12) === 0 ? UNTRAINED : "policy";
    const body = { model, messages, ...fieldsOf(draw), return_token_ids: true };
    const { message, choices, twin } = await ask(client, body, draw, known);
    if (draw(8) === 0) await talk(client, draw, known);
    const longer = [...messages, sentBack(message, draw), ...replyTo(message, draw)];
    messages = rewritten(longer, draw);
    const goesOn = left > 1 && messages.length === longer.length && messages.every((one, i) => one === longer[i]);
    if (!goesOn || model === UNTRAINED) continue;
    const answer = answerTo(body, message);
    known.used.push(answer);
    if (twin === undefined) continue;
    const others = twin.choices.map((choice) => answerTo(body, choice));
    const own = choices.map((choice) => answerTo(body, choice));
    known.alike.push(...others.filter((other) => own.includes(other)));
    if (!others.includes(answer)) known.unused.push(...others.filter((other) => !own.includes(other)));
  }
}

interface Answer {
  readonly message: Message;
  /** All that the request was answered; `message` is one of them. */
  readonly choices: readonly Message[];
  /** What the same request was answered the other time. */
  readonly twin?: Answer;
}

async function ask(client: Client, body: JsonObject, draw: Lots, known: Known): Promise<Answer> {
  const kind = draw(8);
  if (kind === 0) {
    // Leaves, and asks again, without waiting for the server to see it.
    const patience = AbortSignal.timeout(1 + draw(4));
    await client.post("/v1/chat/completions", body, { signal: patience }).then(
      (response) => response.text().catch(() => ""),
      () => "",
    );
    known.repeats++;
  }
  if (kind === 1) {
    known.repeats++;
    const [first, second] = [await complete(client, body, draw), await complete(client, body, draw)];
    return draw(2) ? { ...first, twin: second } : { ...second, twin: first };
  }
  if (kind === 2) {
    // The same request once more is a repetition if the first was answered before it came.
    const other = draw(2) ? body : { ...body, seed: 6 };
    if (other === body) known.repeats++;
    const both = await Promise.all([complete(client, body, draw), complete(client, other, draw)]);
    return both[draw(2)] as Answer;
  }
  return complete(client, body, draw);
}

/** The choices, whole, and one of them. */
async function complete(client: Client, body: JsonObject, draw: Lots): Promise<Answer> {
  const response = await client.post("/v1/chat/completions", body);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status} ${text}`);
  const chosen = draw(Number(body.n ?? 1));
  const choices =
    body.stream === true ? streamed(text) : JSON.parse(text).choices.map(({ message }: Message) => message);
  return { message: choices[chosen], choices };
}

function streamed(text: string): Message[] {
  const messages: Message[] = [];
  for (const { choices } of dataOf(text).slice(0, -1)) {
    const [{ index, delta }] = choices;
    messages[index] ??= { role: "assistant", content: "" };
    const message = messages[index];
    if (delta.content) message.content += delta.content;
    if (delta.reasoning) message.reasoning = (message.reasoning ?? "") + delta.reasoning;
    for (const { index: i, id, function: called } of delta.tool_calls ?? []) {
      message.tool_calls ??= [];
      message.tool_calls[i] ??= { id, type: "function", function: { name: called.name, arguments: "" } };
      message.tool_calls[i].function.arguments += called.arguments;
    }
  }
  return messages;
}

/** What is wrong with a recorded conversation. */
export function problemsOf(conversation: Conversation): string[] {
  const { draws, untrained, answerOf, turns, samples, used, unused, alike, repeats } = conversation;
  const problems: string[] = [];
  const byFirst = new Map(draws.map((draw) => [draw.tokens[0]?.logprob, draw]));
  const trained = new Set<Draw>();
  for (const { context, ids, logprobs } of samples.flatMap(drawnSegments)) {
    const draw = byFirst.get(logprobs[0]);
    if (draw === undefined) problems.push("a token was invented");
    else if (trained.has(draw)) problems.push("a turn is trained twice");
    else if (idsOf(draw) !== ids.join()) problems.push("ids are not those that were drawn");
    else if (`${draw.tokens.map(({ logprob }) => logprob)}` !== `${logprobs}`) problems.push("other log-probabilities");
    else if (`${draw.request.ids}` !== `${context}`) problems.push("another context");
    if (draw) trained.add(draw);
  }
  const whole = draws.filter(({ finishReason }) => finishReason !== undefined);
  const lost = whole.filter((draw) => !trained.has(draw) && !untrained.has(draw));
  const tokens = (list: readonly Draw[]) => list.reduce((sum, draw) => sum + draw.tokens.length, 0);
  const expected = {
    cancelled: tokens(draws.filter((draw) => !whole.includes(draw))),
    repeated: tokens(lost),
    untrained_model: tokens(whole.filter((draw) => untrained.has(draw))),
  };
  if (JSON.stringify(expected) !== JSON.stringify(turns.dropped)) {
    problems.push(`dropped ${JSON.stringify(turns.dropped)}, expected ${JSON.stringify(expected)}`);
  }
  if (lost.length > 0 && repeats === 0) problems.push("a turn is lost");
  const timesIn = (list: Iterable<Draw>, answer: string) =>
    [...list].filter((draw) => answerOf(draw) === answer).length;
  const isTrained = (answer: string) => timesIn(trained, answer) > 0;
  if (!used.every(isTrained)) problems.push("a turn that was used is lost");
  // Nobody knows which of the same words it went on from, but one is enough.
  const isWhole = (answer: string) => timesIn(trained, answer) === timesIn(draws, answer);
  if (unused.some((answer) => !used.includes(answer) && isTrained(answer)) || alike.some(isWhole)) {
    problems.push("an answer that was sent again is trained on");
  }
  return problems;
}

/** An answer as its client knows it: the messages that it followed, its words, and the ids of its calls. */
function answerTo({ messages }: JsonObject, { content, tool_calls: calls }: Message): string {
  const words = String(content ?? "").trim();
  return JSON.stringify([messages, words, (calls ?? []).map(({ id }: Message) => id)]);
}

function idsOf({ tokens }: Draw): string {
  return tokens.map(({ id }) => id).join();
}

/** Runs of tokens that count, each with all that comes before it. */
function drawnSegments({ promptIds, completionIds, samplingLogprobs, lossMask }: Sample) {
  const segments: { context: number[]; ids: number[]; logprobs: number[] }[] = [];
  completionIds.forEach((id, i) => {
    if (lossMask?.[i] === 0) return;
    const begins = i === 0 || lossMask?.[i - 1] === 0;
    if (begins) segments.push({ context: [...promptIds, ...completionIds.slice(0, i)], ids: [], logprobs: [] });
    segments.at(-1)?.ids.push(id);
    segments.at(-1)?.logprobs.push(samplingLogprobs[i] as number);
  });
  return segments;
}

// What the compiler says to a program that uses the package, in the declarations as they are published: which programs compile, and
// which of them are refused with words that say what is missing.
import { beforeAll, expect, test } from "vitest";
import { Editor } from "./editor.js";

const HEAD = `
import { type CausalLM, Dataset, GRPOConfig, GRPOTrainer, IterableDataset, LoraConfig, type RewardBatch, rewards } from "grpo";
declare const base: CausalLM;
const model = base.applyLora(new LoraConfig({ targetModules: "all-linear" }));
const chats = Dataset.from([{ prompt: [{ role: "user", content: "2 + 2 = ?" }], answer: "4" }]);
const texts = Dataset.from([{ prompt: "2 + 2 =", solution: "4" }]);
const unprompted = Dataset.from([{ question: "2 + 2 = ?", solution: "4" }]);
declare const stream: IterableDataset<{ question: string }>;
const own = ({ completions, answer }: RewardBatch<{ answer: string }>) => completions.map((said, i) => said === answer[i]);
`;

const COMPILES = {
  "messages of completions where prompts are conversations":
    "new GRPOTrainer({ model, trainDataset: chats, rewardFuncs: ({ completions, answer }) => completions.map((said, i) => said[0].content === answer[i]) });",
  "the same in rewards.perSample":
    "new GRPOTrainer({ model, trainDataset: chats, rewardFuncs: [rewards.perSample(({ completion, answer }) => completion[0].content === answer)] });",
  "text where prompts are text":
    "new GRPOTrainer({ model, trainDataset: texts, rewardFuncs: [({ completions }) => completions.map((said) => said.trim().length), rewards.accuracy] });",
  "a typed reward on other prompts": "new GRPOTrainer({ model, trainDataset: chats, rewardFuncs: own });",
  "reward functions in the config":
    "new GRPOTrainer({ model, trainDataset: texts, args: new GRPOConfig({ rewardFuncs: [rewards.accuracy, ({ completions }) => completions.map(() => true)] }) });",
  "options of TRL's without effect":
    "new GRPOConfig({ perDeviceEvalBatchSize: 8, torchCompile: false, vllmGroupPort: 51216, dataloaderNumWorkers: 2, generationKwargs: null });",
  "names of columns in a list":
    'texts.removeColumns(["solution"]).at(-1).prompt.trim(); stream.removeColumns(["question"]);',
  "a reward on rows of a test":
    'rewards.test(own, [{ completion: "4", answer: "4" }]); rewards.test(rewards.accuracy, [{ completion: "4", solution: "4" }]);',
} as const;

const REFUSED: readonly (readonly [name: string, program: string, says: RegExp])[] = [
  [
    "a reward without its column",
    "new GRPOTrainer({ model, trainDataset: chats, rewardFuncs: [rewards.accuracy] });",
    /'solution' is missing/,
  ],
  [
    "the same in the config",
    "new GRPOTrainer({ model, trainDataset: chats, args: new GRPOConfig({ rewardFuncs: [rewards.accuracy] }) });",
    /'solution' is missing/,
  ],
  [
    "one of one's own in the config",
    "new GRPOTrainer({ model, trainDataset: texts, args: new GRPOConfig({ rewardFuncs: [own] }) });",
    /'answer' is missing/,
  ],
  [
    "a data set without prompts",
    "new GRPOTrainer({ model, trainDataset: unprompted, rewardFuncs: rewards.thinkFormat });",
    /'prompt' is missing/,
  ],
  [
    "a stream without prompts",
    "new GRPOTrainer({ model, trainDataset: stream, rewardFuncs: rewards.thinkFormat });",
    /'prompt' is missing/,
  ],
  [
    "a list without prompts",
    "new GRPOTrainer({ model, trainDataset: unprompted.toArray(), rewardFuncs: rewards.thinkFormat });",
    /'prompt' is missing/,
  ],
  [
    "an option that would change the result",
    "new GRPOConfig({ torchCompile: true });",
    /'true' is not assignable to type 'false'/,
  ],
  [
    "a name that is no option",
    "new GRPOConfig({ learnignRate: 1e-6 });",
    /'learnignRate'.* Did you mean to write 'learningRate'/,
  ],
  ["a column that is not there", 'texts.removeColumns(["answer"]);', /"answer"/],
  [
    "a row of a test without a column",
    'rewards.test(rewards.accuracy, [{ completion: "4", answer: "4" }]);',
    /'solution' is missing/,
  ],
];

let errors: ReadonlyMap<number, string>;
const first = HEAD.split("\n").length;

beforeAll(() => {
  const lines = [...Object.values(COMPILES), ...REFUSED.map(([, program]) => program)];
  errors = new Editor(HEAD + lines.join("\n")).errors();
}, 60_000);

test("the programs around it compile", () => {
  expect([...errors].filter(([line]) => line < first)).toEqual([]);
});

test.each(Object.keys(COMPILES).map((name, i) => [name, first + i] as const))("compiles: %s", (_, line) => {
  expect(errors.get(line)).toBeUndefined();
});

test.each(REFUSED.map(([name, , says], i) => [name, says, first + Object.keys(COMPILES).length + i] as const))(
  "is refused: %s",
  (_, says, line) => {
    expect(errors.get(line)).toMatch(says);
    expect(errors.get(line)).not.toContain("#private");
  },
);

// JSON that validates: orders in plain words become objects that fit a schema. One reward checks whether the answer is such an object,
// the other how many of its values are right.
//
//   npm install zod
//   npx tsx json.ts --model Qwen/Qwen2.5-0.5B-Instruct --steps 200

import { parseArgs } from "node:util";
import { GRPOConfig, GRPOTrainer, LoraConfig, rewards, tinyModel } from "grpo";
import { z } from "zod";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel }, // shows that it runs; give an instruct model to learn something
    steps: { type: "string", default: "20" },
    output: { type: "string", default: "runs/json" },
  },
});

const Order = z.strictObject({
  item: z.enum(["mug", "lamp", "chair", "book"]),
  quantity: z.int().min(1),
  colour: z.enum(["red", "green", "blue"]),
  express: z.boolean(),
});
type Order = z.infer<typeof Order>;

const schema = JSON.stringify(z.toJSONSchema(Order));
const system = { role: "system", content: `Answer with one JSON object and nothing else. Its schema:\n${schema}` };

/** Every combination, in the words of a customer. */
const orders: Order[] = Order.shape.item.options.flatMap((item) =>
  Order.shape.colour.options.flatMap((colour) =>
    [1, 2, 3, 12].flatMap((quantity) => [true, false].map((express) => ({ item, quantity, colour, express }))),
  ),
);
const trainDataset = orders.map(({ item, quantity, colour, express }, i) => {
  const wish = `${quantity} ${colour} ${item}${quantity === 1 ? "" : "s"}`;
  const order = [`I'd like ${wish}.`, `Could you send me ${wish}?`, `${wish}, please.`][i % 3];
  const content = `${order} ${express ? "I need it tomorrow!" : "There is no hurry."}`;
  return { prompt: [system, { role: "user", content }], wanted: { item, quantity, colour, express } };
});

/** The order that a completion is, or undefined. */
function parseOrder(text: string): Order | undefined {
  try {
    return Order.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

const valid = rewards.perSample(function valid({ text }) {
  return parseOrder(text) ? 1 : 0;
});

const right = rewards.perSample<{ wanted: Order }>(function right({ text, wanted }) {
  const order = parseOrder(text);
  if (!order) return 0;
  const names = Object.keys(wanted) as (keyof Order)[];
  return names.filter((name) => order[name] === wanted[name]).length / names.length;
});

const trainer = new GRPOTrainer({
  model: flags.model,
  peftConfig: new LoraConfig({ r: 16, loraAlpha: 32, targetModules: "all-linear" }),
  trainDataset,
  rewardFuncs: [valid, right],
  args: new GRPOConfig({
    outputDir: flags.output,
    maxSteps: Number(flags.steps),
    modelInitKwargs: { dtype: "auto" },
    perDeviceTrainBatchSize: 32,
    numGenerations: 8,
    maxCompletionLength: 64,
    learningRate: 1e-5,
    loggingSteps: 1,
  }),
});
await trainer.train();
await trainer.saveModel();

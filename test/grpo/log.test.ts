import { expect, test } from "vitest";
import { formatStepLine } from "../../lib/grpo/lines.js";
import { Console } from "../../lib/log/console.js";
import { formatDuration } from "../../lib/log/format.js";
import { MetricWindow } from "../../lib/log/metrics.js";

const metrics = {
  reward: 0.5123,
  reward_std: 0.231,
  entropy: 0.87,
  grad_norm: 0.341,
  "completions/mean_length": 31.4,
  tokens_per_second: 812.3,
  "rewards/format/mean": 0.61,
  "rewards/accuracy/mean": 0.41,
};

test("a step line leads with the reward and its parts", () => {
  const line = formatStepLine({
    step: 7,
    totalSteps: 120,
    metrics,
    rewardNames: ["format", "accuracy"],
    secondsLeft: 63,
    width: 120,
  });
  expect(line).toBe(
    "  7/120  reward 0.512  (format 0.61  accuracy 0.41)  ±0.231  entropy 0.87  grad 0.34  len 31  812 tok/s  1m03s left",
  );
});

test.each([80, 100, 120])("a step line with many long names fits %d columns", (width) => {
  const rewardNames = Array.from({ length: 6 }, (_, i) => `a_reward_function_with_a_long_name_${i}`);
  const line = formatStepLine({ step: 7, totalSteps: 120, metrics, rewardNames, secondsLeft: 1e6, width });
  expect(line.length).toBeLessThanOrEqual(width);
  expect(line).toContain("reward 0.512");
});

test("what is not known is shown as a dash", () => {
  const line = formatStepLine({ step: 1, totalSteps: 2, metrics: { reward: Number.NaN }, rewardNames: [], width: 120 });
  expect(line).toContain("reward –  ±–  entropy –");
});

test.each([
  [0, "0s"],
  [59.6, "1m00s"],
  [3599, "59m59s"],
  [3661, "1h01m"],
])("%d seconds are %s", (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test("the status line is rewritten in place on a terminal and never written elsewhere", () => {
  const written: string[] = [];
  const write = (text: string) => written.push(text);
  const file = new Console({ write });
  file.status("half way");
  file.line("done");
  expect(written).toEqual(["done\n"]);
  written.length = 0;
  const terminal = new Console({ write, isTTY: true, columns: 10 });
  terminal.status("a long status line");
  terminal.line("done");
  expect(written).toEqual(["\r\x1b[2Ka long s…", "\r\x1b[2K", "done\n"]);
});

test("a window averages what is known and keeps the latest of counters", () => {
  const window = new MetricWindow();
  window.add({ reward: 1, kl: Number.NaN, num_tokens: 10, grad_norm: 5, "rewards/f/mean": Number.NaN });
  window.add({ reward: 2, kl: 3, num_tokens: 20, grad_norm: 7, "rewards/f/mean": Number.NaN });
  expect(window.take()).toEqual({ reward: 1.5, kl: 3, num_tokens: 20, grad_norm: 7, "rewards/f/mean": Number.NaN });
  expect(window.take()).toEqual({});
});

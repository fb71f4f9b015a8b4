// Reward functions that misbehave in every way, for worker processes: most would end or block this one.

export async function whereItRuns({ completions }) {
  await new Promise((resolve) => setTimeout(resolve, 300));
  return completions.map(() => process.pid);
}

export function throws() {
  throw new RangeError("no such answer");
}

export function throwsText() {
  throw "just text";
}

export function notNumbers({ completions }) {
  return completions.map(() => Number.NaN);
}

export function sendsWhatCannotCross({ completions, logExtra }) {
  logExtra(
    "functions",
    completions.map(() => () => 1),
  );
  return completions.map(() => 1);
}

export function exits() {
  process.exit(3);
}

export function aborts() {
  process.abort();
}

export function throwsLater() {
  setTimeout(() => {
    throw new Error("nobody waits for this");
  }, 5);
  return new Promise(() => {});
}

export function eatsMemory() {
  const eaten = [];
  for (;;) eaten.push(new Array(100_000).fill(String(eaten.length)));
}

export function loopsForever() {
  if (process.env.SAY_PROCESS) console.log(`process ${process.pid} is in its loop`);
  for (;;);
}

// `grpo doctor --server URL`: whether a server of vLLM or SGLang can sample for a trainer, and what to start it with.

import { diagnoseServer, type ServerDiagnosis } from "../servers/diagnose.js";

/** Ends with 1 where a server cannot. */
export async function diagnoseServers(urls: readonly string[], json: boolean): Promise<number> {
  const found: ServerDiagnosis[] = [];
  for (const url of urls) found.push(await diagnoseServer(url, new AbortController().signal));
  if (json) console.log(JSON.stringify(found, null, 2));
  else for (const server of found) print(server);
  return found.every(({ ok }) => ok) ? 0 : 1;
}

function print(server: ServerDiagnosis): void {
  const { kind, version, url, model, maxPositions, advice } = server;
  row("server", `${[kind, version].filter(Boolean).join(" ")} at ${url}`);
  row("model", `${model}, ${maxPositions} positions`);
  row("logprobs", server.followsTemperature ? "of the temperature" : "without the temperature");
  row("adapters", server.adapters ? sizes(server) : "not at run time");
  row("weights", server.wholeWeights ? "can be replaced" : "cannot be replaced");
  console.log(
    advice.length === 0 ? "\n→ it can sample for a trainer\n" : `\n${advice.map((text) => `→ ${text}\n`).join("")}`,
  );
}

function sizes({ adapterRank, adapterSlots }: ServerDiagnosis): string {
  if (adapterRank === undefined) return "at run time";
  return `at run time, of rank ${adapterRank} at most${adapterSlots === undefined ? "" : `, ${adapterSlots} together`}`;
}

function row(name: string, text: string): void {
  console.log(`${name.padEnd(10)} ${text}`);
}

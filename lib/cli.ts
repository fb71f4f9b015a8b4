#!/usr/bin/env node
// The `grpo` command. Each subcommand is one file in lib/commands/, loaded only when it is called; adding one is adding a line
// to the table below. A GrpoError is printed without a stack: its message already says what to do.

import type { Command } from "./commands/command.js";
import { GrpoError, nearestName } from "./errors.js";
import { packageVersion } from "./package-files.js";

interface Entry {
  readonly summary: string;
  load(): Promise<Command>;
}

const commands: Readonly<Record<string, Entry>> = {
  quickstart: {
    summary: "train a tiny bundled model, about a minute, no download",
    load: async () => (await import("./commands/quickstart.js")).quickstartCommand,
  },
  setup: {
    summary: "fetch libtorch once into the cache",
    load: async () => (await import("./commands/setup.js")).setupCommand,
  },
  doctor: {
    summary: "show what was found, load it, and say what to do next",
    load: async () => (await import("./commands/doctor.js")).doctorCommand,
  },
  login: {
    summary: "save a token for the Hugging Face Hub",
    load: async () => (await import("./commands/login.js")).loginCommand,
  },
  logout: {
    summary: "forget the saved token",
    load: async () => (await import("./commands/logout.js")).logoutCommand,
  },
  whoami: {
    summary: "show the account of the token in use",
    load: async () => (await import("./commands/whoami.js")).whoamiCommand,
  },
  train: {
    summary: "train from a configuration with TRL's keys, or run a script",
    load: async () => (await import("./commands/train.js")).trainCommand,
  },
  sft: {
    summary: "fine-tune on given answers, from a configuration with TRL's keys",
    load: async () => (await import("./commands/sft.js")).sftCommand,
  },
  launch: {
    summary: "start a script as several ranks that train one model together",
    load: async () => (await import("./commands/launch.js")).launchCommand,
  },
  eval: {
    summary: "evaluate a model or a server on benchmarks, or on rows with a reward",
    load: async () => (await import("./commands/eval.js")).evalCommand,
  },
  generate: {
    summary: "ask a model, with or without an adapter",
    load: async () => (await import("./commands/generate.js")).generateCommand,
  },
  serve: {
    summary: "answer clients of OpenAI's protocols with a model",
    load: async () => (await import("./commands/serve.js")).serveCommand,
  },
  merge: {
    summary: "write a model with an adapter merged into it",
    load: async () => (await import("./commands/merge.js")).mergeCommand,
  },
  gguf: {
    summary: "write a model as a GGUF file for llama.cpp and Ollama",
    load: async () => (await import("./commands/gguf.js")).ggufCommand,
  },
  report: {
    summary: "write a page with the curves and completions of a run",
    load: async () => (await import("./commands/report.js")).reportCommand,
  },
  build: {
    summary: "build the native engine from source (C++20 compiler, CMake)",
    load: async () => (await import("./commands/build.js")).buildCommand,
  },
};

function help(): string {
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`);
  return `usage: grpo <command> [options]\n\n${lines.join("\n")}\n\n\`grpo <command> --help\` shows a command's options, \`grpo --version\` the version.`;
}

function usage(name: string, command: Command): string {
  return `usage: grpo ${name} ${command.usage}`.trimEnd();
}

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    console.log(help());
    return 0;
  }
  if (name === "--version" || name === "-v" || name === "version") {
    console.log(packageVersion);
    return 0;
  }
  const entry = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!entry) {
    const near = nearestName(name, Object.keys(commands));
    console.error(`grpo: there is no command "${name}"${near ? `; did you mean "${near}"?` : ""}\n\n${help()}`);
    return 2;
  }
  const command = await entry.load();
  if (rest.includes("--help") || rest.includes("-h")) {
    console.log(usage(name, command));
    return 0;
  }
  return run(name, command, rest);
}

async function run(name: string, command: Command, args: readonly string[]): Promise<number> {
  try {
    return await command.run(args);
  } catch (error) {
    // node:util parseArgs: an unknown or incomplete option.
    if (error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS")) {
      console.error(`grpo ${name}: ${error.message}\n\n${usage(name, command)}`);
      return 2;
    }
    if (!(error instanceof GrpoError)) throw error;
    console.error(`grpo ${name}: ${error.message} [${error.code}]`);
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));

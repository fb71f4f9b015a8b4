// `grpo whoami`: the account of the token in force, and its organizations.
import { parseArgs } from "node:util";
import { whoami } from "../hub/login.js";
import type { Command } from "./command.js";

export const whoamiCommand: Command = {
  usage: "",

  async run(args) {
    parseArgs({ args: [...args], options: {} });
    const { name, organizations } = await whoami();
    console.log(name);
    if (organizations.length > 0) console.log(`organizations: ${organizations.join(", ")}`);
    return 0;
  },
};

// `grpo logout`: forgets the saved token.
import { parseArgs } from "node:util";
import { findToken, tokenPath } from "../hub/hub-env.js";
import { logout } from "../hub/login.js";
import type { Command } from "./command.js";

export const logoutCommand: Command = {
  usage: "",

  async run(args) {
    parseArgs({ args: [...args], options: {} });
    await logout();
    console.log(`There is no token in ${tokenPath()} any more.`);
    if (findToken() !== undefined) console.log("HF_TOKEN is still set in this shell, and remains in use.");
    return 0;
  },
};

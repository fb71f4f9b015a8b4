// The reward functions that come with the library, under one name: rewards.thinkFormat, rewards.perSample(…), …

/**
 * The reward functions that come with the library; docs/rewards.md describes them.
 *
 * @namespace
 */
export * as rewards from "./built-in.js";

// Names that are given out. Calls of tools are told apart by their ids alone, over a whole run of an agent, and so no id may come
// twice in the life of a server; a start at random keeps those of an earlier one out of the way.

import { randomBytes, randomInt } from "node:crypto";

/** Mistral's chat templates refuse a call's id that is not of nine letters and digits. */
const CALL_ID_LENGTH = 9;
const CALL_IDS = 36 ** CALL_ID_LENGTH;

/** A source of call ids that do not repeat. */
export function callIds(): () => string {
  let next = randomInt(2 ** 47);
  return () => callId(next++);
}

/** A number from 0 as the id of a call. */
export function callId(number: number): string {
  return (number % CALL_IDS).toString(36).padStart(CALL_ID_LENGTH, "0");
}

/** "resp_…", "msg_…". */
export function newId(prefix: string): string {
  return `${prefix}_${randomBytes(16).toString("hex")}`;
}

/** Seconds since 1970, as OpenAI writes times. */
export function now(): number {
  return Math.floor(Date.now() / 1000);
}

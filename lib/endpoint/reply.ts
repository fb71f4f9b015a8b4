// What a protocol answers with: a JSON value, or server-sent events. Protocols make replies and know nothing of sockets; what is wrong
// with a request they throw before they reply, so that it still gets its status.

import type { ApiError } from "./api-error.js";

/** One server-sent event. */
export interface ServerEvent {
  /** The line `event: …`. */
  readonly name?: string;
  /** JSON, or text as it is. */
  readonly data: object | string;
}

export type Reply =
  | { readonly type: "json"; readonly body: () => Promise<unknown> }
  | {
      readonly type: "events";
      readonly events: () => AsyncIterable<ServerEvent>;
      /** How the protocol says that a stream ends because of an error. */
      readonly failure: (error: ApiError) => ServerEvent;
    };

export const jsonReply = (body: () => Promise<unknown> | unknown): Reply => ({
  type: "json",
  body: async () => body(),
});

/** The text of an event on the wire. */
export function eventText({ name, data }: ServerEvent): string {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return `${name === undefined ? "" : `event: ${name}\n`}data: ${text}\n\n`;
}

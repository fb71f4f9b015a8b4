// What strangers, broken clients and long waits do to the endpoint: every refusal has a status and OpenAI's form, nothing is lost, and
// what nobody waits for any more is not computed.

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { EndpointOptions } from "../../lib/endpoint/endpoint.js";
import { Client, dataOf, errorOf, type Script, startEndpoint } from "./fake-generator.js";

const start = (say: Script, options: EndpointOptions = {}) => startEndpoint(say, options, "abort");

const PATH = "/v1/chat/completions";
const BODY = { messages: [{ role: "user", content: "hi" }] };
const JSON_TYPE = { "content-type": "application/json" };

/** Resolves when what is asked for has come. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await sleep(10);
  expect(condition()).toBe(true);
}

/** A connection that says whatever it wants; `read` is all that came until the other end closed. */
async function raw(baseURL: string, text = ""): Promise<{ socket: Socket; read: Promise<string> }> {
  const socket = connect(Number(new URL(baseURL).port), "127.0.0.1");
  await once(socket, "connect");
  let answer = "";
  socket.on("data", (part) => {
    answer += part;
  });
  socket.on("error", () => {});
  const read = once(socket, "close").then(() => answer);
  socket.write(text);
  return { socket, read };
}

describe("who is let in", () => {
  it("asks for the key on every path but /health, and says whether it was missing or wrong", async () => {
    const { client, endpoint } = await start(() => "ok", { apiKey: "secret" });
    await client.json(PATH, BODY);
    const stranger = new Client(endpoint.baseURL);
    const paths = ["/v1/models", "/tokenizer_info", "/v1/responses/resp_1"];
    for (const path of paths) {
      const { error } = await stranger.json(path, undefined, 401);
      expect(error).toMatchObject({ type: "authentication_error", code: "missing_api_key" });
    }
    for (const key of ["wrong", "secre", "secret2", "SECRET"]) {
      const { error } = await new Client(endpoint.baseURL, key).json(PATH, BODY, 401);
      expect(error.code).toBe("invalid_api_key");
    }
    expect(await stranger.json("/health")).toEqual({ status: "ok" });
  });

  it("takes any key where it has none, and a header without one", async () => {
    const { client } = await start(() => "ok");
    for (const authorization of ["Bearer anything", "Bearer", "Bearer ", "Basic x"]) {
      const response = await client.post(PATH, BODY, { headers: { authorization } });
      expect(response.status).toBe(200);
    }
  });

  it("opens sessions with keys of their own: none can refer to what another was told, and its end cancels its requests", async () => {
    const { endpoint, generator } = await start(() => "one two three", { apiKey: "own" });
    const [first, second] = [endpoint.openSession(), endpoint.openSession()];
    const [one, two] = [first, second].map(({ apiKey }) => new Client(endpoint.baseURL, apiKey)) as [Client, Client];
    const { id } = await one.json("/v1/responses", { input: "hi" });
    expect((await one.fetch(`/v1/responses/${id}`)).status).toBe(200);
    expect((await two.fetch(`/v1/responses/${id}`)).status).toBe(404);
    generator.beforeToken = () => sleep(50);
    const running = one.post(PATH, BODY);
    await until(() => generator.requests.length === 2);
    first.end();
    expect((await running).status).toBe(503);
    await until(() => generator.cancelled.length === 1);
    expect((await one.fetch("/v1/models")).status).toBe(401);
    expect((await two.fetch("/v1/models")).status).toBe(200);
  });

  it("listens beyond this machine with a key alone", async () => {
    await expect(start(() => "ok", { host: "0.0.0.0" })).rejects.toThrow(/can be reached from elsewhere/);
    const { endpoint } = await start(() => "ok", { host: "0.0.0.0", apiKey: "k" });
    const port = new URL(endpoint.baseURL).port;
    expect(await new Client(`http://127.0.0.1:${port}`, "k").json("/v1/models")).toMatchObject({ object: "list" });
  });

  it("answers no page of another origin, and no name that was pointed at this machine", async () => {
    const { client, endpoint } = await start(() => "ok");
    const status = async (headers: Record<string, string>) => (await client.fetch("/v1/models", { headers })).status;
    expect(await status({ origin: "https://evil.example" })).toBe(403);
    expect(await status({ origin: "http://localhost:3000" })).toBe(200);
    const { read } = await raw(
      endpoint.baseURL,
      "GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
    );
    expect(await read).toMatch(/^HTTP\/1.1 403[\s\S]*foreign_host/);
    const form = { method: "POST", body: JSON.stringify(BODY), headers: { "content-type": "text/plain" } };
    expect((await client.fetch(PATH, form)).status).toBe(415);
  });
});

describe("requests that cannot be answered", () => {
  it.each([
    ["GET", "/nothing", undefined, 404, "not_found"],
    ["POST", "/v1/models", BODY, 405, "method_not_allowed"],
    ["POST", PATH, "{", 400, "invalid_json"],
    ["POST", PATH, "[]", 400, "invalid_json"],
    ["POST", PATH, "", 400, "invalid_value"],
    ["POST", PATH, { ...BODY, messages: "hi" }, 400, "invalid_value"],
    ["POST", PATH, `{"messages":${"[".repeat(50_000)}${"]".repeat(50_000)}}`, 400, "invalid_json"],
    ["POST", PATH, { ...BODY, chat_template_kwargs: { chatTemplate: "{{ 1 }}" } }, 400, "bad_option"],
    ["GET", "/v1/models/%ff", undefined, 404, "not_found"],
  ])("%s %s: %#", async (method, path, body, status, code) => {
    const { client } = await start(() => "ok");
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const response = await client.fetch(path, {
      method,
      headers: JSON_TYPE,
      ...(body === undefined ? {} : { body: text }),
    });
    expect([response.status, await errorOf(response)]).toEqual([status, expect.objectContaining({ code })]);
  });

  it("reads no body beyond the limit, announced or not, and the client reads why", async () => {
    const { client } = await start(() => "ok", { limits: { maxBodyBytes: 100_000 } });
    const large = JSON.stringify({ messages: [{ role: "user", content: "x".repeat(3_000_000) }] });
    const announced = await client.post(PATH, large);
    expect([announced.status, (await errorOf(announced)).code]).toEqual([413, "body_too_large"]);
    const parts = new ReadableStream({
      start(controller) {
        for (let i = 0; i < 30; i++) controller.enqueue(new TextEncoder().encode(large.slice(0, 100_000)));
        controller.close();
      },
    });
    const init = { method: "POST", headers: JSON_TYPE, body: parts, duplex: "half" };
    expect((await client.fetch(PATH, init as RequestInit)).status).toBe(413);
    await client.json(PATH, BODY);
  });

  it("reads no more bodies at a time than fit, however many clients there are", async () => {
    const { client, endpoint } = await start(() => "ok", { limits: { maxPendingBytes: 100_000 } });
    const head = `POST ${PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 90000\r\n\r\n`;
    const slow = await raw(endpoint.baseURL, head + "x".repeat(80_000));
    await sleep(50);
    const content = "y".repeat(50_000);
    const response = await client.post(PATH, { messages: [{ role: "user", content }] });
    expect([response.status, response.headers.get("retry-after")]).toEqual([429, "1"]);
    slow.socket.destroy();
    await sleep(50);
    await client.json(PATH, BODY);
  });

  it("answers what is no HTTP with 400, and headers without end with 431", async () => {
    const { endpoint } = await start(() => "ok");
    expect(await (await raw(endpoint.baseURL, "hello\r\n\r\n")).read).toMatch(/^HTTP\/1.1 400 [\s\S]*"bad_request"/);
    const headers = `GET / HTTP/1.1\r\n${"a: b\r\n".repeat(20_000)}`;
    expect(await (await raw(endpoint.baseURL, headers)).read).toMatch(/^HTTP\/1.1 431 /);
  });

  it("takes no compressed body", async () => {
    const { client } = await start(() => "ok");
    const response = await client.post(PATH, BODY, { headers: { "content-encoding": "gzip" } });
    expect([response.status, (await errorOf(response)).code]).toEqual([415, "unsupported_encoding"]);
  });

  it("has 429 for more completions than may be in work, and works them off", async () => {
    const { client, generator } = await start(() => "ok", { limits: { maxRows: 3 } });
    let go = () => {};
    const wait = new Promise<void>((resolve) => {
      go = resolve;
    });
    generator.beforeToken = () => wait;
    const first = client.json(PATH, { ...BODY, n: 2 });
    await until(() => generator.requests.length === 1);
    const refused = await client.post(PATH, { ...BODY, n: 2 });
    expect([refused.status, refused.headers.get("retry-after"), (await errorOf(refused)).code]).toEqual([
      429,
      "1",
      "too_many_rows",
    ]);
    go();
    await first;
    await client.json(PATH, { ...BODY, n: 3 });
  });
});

describe("long waits", () => {
  it("keeps a waiting client with spaces before JSON", async () => {
    const { client, generator } = await start(() => "ok", { limits: { keepAliveMs: 20 } });
    generator.beforeToken = () => sleep(100);
    const response = await client.post(PATH, BODY);
    expect(response.status).toBe(200);
    const text = await response.text();
    expect(text).toMatch(/^ {2,}\{/);
    expect(JSON.parse(text).choices[0].message.content).toBe("ok");
  });

  it("keeps a waiting stream with comments", async () => {
    const { client, generator } = await start(() => "ok", { limits: { keepAliveMs: 20 } });
    generator.beforeToken = () => sleep(100);
    const text = await (await client.post(PATH, { ...BODY, stream: true })).text();
    expect(text).toMatch(/^: waiting\n\n/);
    expect(dataOf(text).at(-1)).toBe("[DONE]");
  });

  it("breaks the connection where an answer fails after its beginning, since its status said that all is well", async () => {
    const errors: string[] = [];
    const options = { limits: { keepAliveMs: 20 }, onError: (error: Error) => errors.push(error.message) };
    const { client, generator } = await start(() => "ok", options);
    generator.beforeToken = async () => {
      await sleep(100);
      throw new Error("engine failed");
    };
    const response = await client.post(PATH, BODY);
    await expect(response.text()).rejects.toThrow();
    expect(errors).toEqual(["engine failed"]);
  });
});

describe("clients that go", () => {
  it.each([false, true])("ends the work of a request whose client has gone; stream: %s", async (stream) => {
    const { client, generator } = await start(() => "one two three four");
    generator.beforeToken = () => sleep(20);
    const abort = new AbortController();
    const answer = client.post(PATH, { ...BODY, stream }, { signal: abort.signal }).then((response) => response.text());
    await until(() => generator.requests.length === 1);
    abort.abort();
    await expect(answer).rejects.toThrow();
    await until(() => generator.cancelled.length === 1);
  });

  it("stores nothing of an answer whose client has gone: the next one knows of its retry alone", async () => {
    const { client, generator, tokenizer } = await start(() => "one two three");
    generator.beforeToken = () => sleep(20);
    const abort = new AbortController();
    const answer = client.post("/v1/responses", { input: "hi", stream: true }, { signal: abort.signal });
    await until(() => generator.requests.length === 1);
    abort.abort();
    await answer.catch(() => {});
    await until(() => generator.cancelled.length === 1);
    generator.beforeToken = () => {};
    const retry = await client.json("/v1/responses", { input: "hi" });
    await client.json("/v1/responses", { input: "and?", previous_response_id: retry.id });
    expect(tokenizer.decode(generator.requests.at(-1)?.ids ?? []).split("one two three")).toHaveLength(2);
  });

  it("writes no more than a slow client reads, and lets go of one that reads nothing", async () => {
    const text = "x ".repeat(1500);
    const { endpoint, generator } = await start(() => text, { limits: { stallMs: 300, keepAliveMs: 50 } });
    let drawn = 0;
    generator.beforeToken = () => {
      drawn++;
    };
    const body = JSON.stringify({ ...BODY, n: 200, stream: true, logprobs: true, top_logprobs: 5 });
    const head = `POST ${PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
    const socket = connect(Number(new URL(endpoint.baseURL).port), "127.0.0.1");
    socket.on("error", () => {});
    await once(socket, "connect");
    socket.write(head + body);
    await until(() => generator.cancelled.length === 1);
    expect(drawn).toBeLessThan(200 * 1500);
    socket.destroy();
  });
});

describe("the end", () => {
  it("lets running requests end, and takes no new ones", async () => {
    const { client, endpoint, generator } = await start(() => "one two three");
    generator.beforeToken = () => sleep(30);
    const running = client.json(PATH, BODY);
    const streaming = client.events(PATH, { ...BODY, stream: true });
    await until(() => generator.requests.length === 2);
    const closed = endpoint.close();
    await expect(client.fetch("/v1/models").then(({ status }) => status))
      .resolves.toBe(503)
      .catch(() => {});
    expect((await running).choices[0].message.content).toBe("one two three");
    expect((await streaming).at(-1)).toBe("[DONE]");
    await closed;
    await expect(client.fetch("/v1/models")).rejects.toThrow();
  });

  it("waits for a client that reads slowly to have the whole answer", async () => {
    const { endpoint } = await start(() => "x ".repeat(1500));
    const body = JSON.stringify({ ...BODY, n: 80, logprobs: true });
    const head = `POST ${PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
    const { socket, read } = await raw(endpoint.baseURL, head + body);
    socket.pause();
    await until(() => socket.bytesRead > 0);
    const closed = endpoint.close();
    await sleep(300);
    socket.resume();
    const answer = await read;
    await closed;
    const [, length = ""] = /content-length: (\d+)/.exec(answer) ?? [];
    const [, content = ""] = answer.split("\r\n\r\n");
    expect(Buffer.byteLength(content)).toBe(Number(length));
    expect(Number(length)).toBeGreaterThan(10_000_000);
  });

  it("cuts requests off when it is told to", async () => {
    const { client, endpoint, generator } = await start(() => "one two three");
    generator.beforeToken = () => sleep(50);
    const running = client.json(PATH, BODY);
    running.catch(() => {});
    await until(() => generator.requests.length === 1);
    await endpoint.abort();
    await expect(running).rejects.toThrow();
    await until(() => generator.cancelled.length === 1);
  });
});

it("answers a thousand connections at once", async () => {
  const { endpoint, generator } = await start(() => "ok");
  generator.beforeToken = () => sleep(100);
  const body = JSON.stringify(BODY);
  const request =
    `POST ${PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n` +
    `content-length: ${body.length}\r\n\r\n${body}`;
  const all = await Promise.all(Array.from({ length: 1000 }, () => raw(endpoint.baseURL, request)));
  const answers = await Promise.all(all.map(({ read }) => read));
  expect(
    answers.filter((answer) => answer.startsWith("HTTP/1.1 200") && answer.includes('"content":"ok"')),
  ).toHaveLength(1000);
});

it.each([
  [{ port: 70_000 }, /port must be a whole number/],
  [{ apiKey: "" }, /apiKey must be/],
  [{ apiKey: "two words" }, /apiKey must be/],
  [{ limits: { maxRows: 0 } }, /maxRows must be a whole number at least 1/],
  [{ limits: { maxRow: 3 } }, /unknown option maxRow[\s\S]*maxRows/],
  [{ hots: "x" }, /unknown option hots/],
])("refuses the options %j", async (options, message) => {
  await expect(start(() => "ok", options as EndpointOptions)).rejects.toThrow(message);
});

it("says that an address is taken", async () => {
  const { endpoint } = await start(() => "ok");
  const port = Number(new URL(endpoint.baseURL).port);
  await expect(start(() => "ok", { port })).rejects.toThrow(/cannot listen at 127\.0\.0\.1:\d+/);
});

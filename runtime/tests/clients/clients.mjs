// Asks a running server with OpenAI's client for JavaScript. usage: node clients.mjs BASE_URL
import assert from "node:assert";
import OpenAI from "openai";
import { base, CHAT, EMBEDDER, main, QUESTION } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "unused", maxRetries: 0 });
const chat = { model: CHAT, messages: QUESTION, max_tokens: 24, temperature: 0 };

const checks = {
  "openai chat": async () => {
    const answer = await client.chat.completions.create(chat);
    assert.match(answer.choices[0].message.content, /Paris/);
  },
  "openai chat_streamed": async () => {
    let text = "";
    for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
      text += chunk.choices[0]?.delta?.content ?? "";
    }
    assert.match(text, /Paris/);
  },
  "openai embeddings": async () => {
    const answer = await client.embeddings.create({ model: EMBEDDER, input: "a mayfly" });
    assert.equal(answer.data[0].embedding.length, 384);
  },
  "openai responses_streamed": async () => {
    let text = "";
    const asked = { model: CHAT, input: QUESTION, max_output_tokens: 64, temperature: 0 };
    const stream = client.responses.stream(asked);
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assert.equal((await stream.finalResponse()).output_text, text);
    assert.match(text, /Paris/);
  },
  "openai responses_function": async () => {
    const parameters = {
      type: "object",
      properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
      required: ["city"],
      additionalProperties: false,
    };
    const tools = [{ type: "function", name: "weather", parameters, strict: true }];
    const asked = { model: CHAT, input: "How is the weather in Rome?", tools, max_output_tokens: 64, temperature: 0 };
    const stream = client.responses.stream({ ...asked, tool_choice: "required", parallel_tool_calls: false });
    let said = "";
    for await (const event of stream) {
      if (event.type === "response.function_call_arguments.delta") said += event.delta;
    }
    const [call] = (await stream.finalResponse()).output;
    assert.equal(call.arguments, said);
    assert.match(JSON.parse(said).city, /^(Rome|Oslo)$/);
  },
};

await main(checks);

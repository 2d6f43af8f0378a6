// Asks a running server with clients for JavaScript: the AI SDK by providers for each interface, and those of OpenAI, Ollama and
// Anthropic. usage: node flows.mjs BASE_URL
import assert from "node:assert";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { createOllama } from "ai-sdk-ollama";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { base, CHAT, EMBEDDER, main, QUESTION, TEXT } from "./checks.mjs";

const server = { baseURL: `${base}/v1`, apiKey: "unused" };
const compatible = createOpenAICompatible({ ...server, name: "dayfly", includeUsage: true, supportsStructuredOutputs: true });
const official = createOpenAI(server);
const provided = createOllama({ baseURL: base });
const openai = new OpenAI({ ...server, maxRetries: 0 });
const ollama = new Ollama({ host: base });
const anthropic = new Anthropic({ baseURL: base, apiKey: "unused", maxRetries: 0 });

const schema = z.object({ city: z.string().max(20) });
const parameters = { type: "object", properties: { city: { type: "string", maxLength: 20 } }, required: ["city"] };
const asked = { prompt: TEXT, temperature: 0, maxOutputTokens: 64, maxRetries: 0 };
const chat = { model: CHAT, messages: QUESTION, temperature: 0, max_tokens: 64 };
const weather = tool({
  description: "Tells the weather.",
  inputSchema: schema,
  execute: async ({ city }) => `It is sunny in ${city}.`,
});

const models = {
  compatible: compatible(CHAT),
  chat: official.chat(CHAT),
  responses: official(CHAT),
  anthropic: createAnthropic(server)(CHAT),
  ollama: provided(CHAT),
};
const checks = {};
for (const [name, model] of Object.entries(models)) {
  Object.assign(checks, {
    [`ai-sdk ${name} generateText`]: async () => {
      const answer = await generateText({ ...asked, model, seed: 1, topP: 0.9, stopSequences: ["zzz"] });
      assert.match(answer.text, /Paris/);
      assert.equal(answer.finishReason, "stop");
      assert(answer.usage.totalTokens > 0);
    },
    [`ai-sdk ${name} streamText`]: async () => {
      const answer = streamText({ ...asked, model });
      let text = "";
      for await (const piece of answer.textStream) text += piece;
      assert.match(text, /Paris/);
      assert((await answer.usage).totalTokens > 0);
    },
    [`ai-sdk ${name} generateObject`]: async () => {
      const { object } = await generateObject({ ...asked, model, schema });
      assert.deepEqual(Object.keys(object), ["city"]);
    },
    [`ai-sdk ${name} streamObject`]: async () => {
      const answer = streamObject({ ...asked, model, schema });
      for await (const partial of answer.partialObjectStream) assert.equal(typeof partial, "object");
      assert.deepEqual(Object.keys(await answer.object), ["city"]);
    },
  });
  // Where a call can be asked for: this model makes none of its own accord.
  if (name === "ollama") continue;
  Object.assign(checks, {
    [`ai-sdk ${name} tools`]: async () => {
      const held = { tools: { weather }, toolChoice: "required" };
      const answer = await generateText({ ...asked, ...held, model });
      assert.match(answer.toolResults[0].output, /^It is sunny in/);
      const streamed = streamText({ ...asked, ...held, model });
      await streamed.consumeStream();
      assert.deepEqual((await streamed.toolCalls)[0].input, answer.toolCalls[0].input);
    },
    [`ai-sdk ${name} tools and an answer`]: async () => {
      const prepareStep = ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" });
      const answer = await generateText({ ...asked, model, tools: { weather }, prepareStep, stopWhen: stepCountIs(2) });
      assert.equal(answer.steps.length, 2);
      assert(answer.text.length > 0);
    },
  });
}
Object.assign(checks, {
  "ai-sdk completion": async () => {
    const model = compatible.completionModel(CHAT);
    const answer = await generateText({ ...asked, model, prompt: "The capital of France is", maxOutputTokens: 16 });
    assert.match(answer.text, /Paris/);
  },
  "ai-sdk embeddings": async () => {
    for (const provider of [compatible, official, provided]) {
      const model = provider.textEmbeddingModel(EMBEDDER);
      const { embeddings } = await embedMany({ model, values: ["a mayfly", "an insect"], maxRetries: 0 });
      assert.deepEqual(embeddings.map((vector) => vector.length), [384, 384]);
    }
  },
  "openai parse": async () => {
    const held = { response_format: zodResponseFormat(schema, "place") };
    const answer = await openai.chat.completions.parse({ ...chat, ...held });
    assert.deepEqual(Object.keys(answer.choices[0].message.parsed), ["city"]);
  },
  "openai finalChatCompletion": async () => {
    const stream = openai.chat.completions.stream({ ...chat, stream_options: { include_usage: true } });
    const final = await stream.finalChatCompletion();
    assert.match(final.choices[0].message.content, /Paris/);
    assert((await stream.totalUsage()).total_tokens > 0);
  },
  "openai runTools": async () => {
    const told = { name: "weather", description: "Tells the weather.", parameters, parse: JSON.parse };
    let calls = 0;
    const run = openai.chat.completions.runTools({
      ...chat,
      parallel_tool_calls: false,
      tool_choice: { type: "function", function: { name: "weather" } },
      tools: [{ type: "function", function: { ...told, function: () => ((calls += 1), "It is sunny.") } }],
    });
    await run.done();
    assert.equal(calls, 1);
  },
  "ollama chat": async () => {
    const settings = { model: CHAT, messages: QUESTION, options: { temperature: 0, num_predict: 24 } };
    const answer = await ollama.chat(settings);
    let text = "";
    for await (const piece of await ollama.chat({ ...settings, stream: true })) text += piece.message.content;
    assert.match(text, /Paris/);
    assert.equal(answer.message.content, text);
  },
  "ollama format": async () => {
    const answer = await ollama.generate({ model: CHAT, prompt: TEXT, format: parameters, options: { temperature: 0 } });
    assert.deepEqual(Object.keys(JSON.parse(answer.response)), ["city"]);
  },
  "ollama tools": async () => {
    const call = { function: { name: "weather", arguments: { city: "Oslo" } } };
    const told = [
      { role: "user", content: "How is the weather in Oslo?" },
      { role: "assistant", content: "", tool_calls: [call] },
      { role: "tool", content: "It is sunny.", tool_name: "weather" },
    ];
    const tools = [{ type: "function", function: { name: "weather", description: "Tells the weather.", parameters } }];
    const answer = await ollama.chat({ model: CHAT, messages: told, tools, options: { temperature: 0, num_predict: 24 } });
    assert(answer.message.content.length > 0 || answer.message.tool_calls.length > 0);
  },
  "ollama embed": async () => {
    assert.equal((await ollama.embed({ model: EMBEDDER, input: "a mayfly" })).embeddings[0].length, 384);
  },
  "ollama list, show and ps": async () => {
    const { models } = await ollama.list();
    const named = (name) => models.find((model) => model.name === name);
    assert.equal(named(`${CHAT}:latest`).digest, named("SmolLM2-135M-Instruct.Q4_1:latest").digest);
    for (const { name } of models) assert((await ollama.show({ model: name })).details.format);
    const running = (await ollama.ps()).models.map((model) => model.name);
    assert(running.every(named), running);
  },
  "anthropic messages": async () => {
    const settings = { model: CHAT, max_tokens: 24, messages: QUESTION, temperature: 0 };
    const answer = await anthropic.messages.create(settings);
    assert.match(answer.content[0].text, /Paris/);
    const streamed = await anthropic.messages.stream(settings).finalMessage();
    assert.equal(streamed.content[0].text, answer.content[0].text);
  },
  "anthropic tools": async () => {
    const tools = [{ name: "weather", description: "Tells the weather.", input_schema: parameters }];
    const settings = { model: CHAT, max_tokens: 64, messages: QUESTION, tools, temperature: 0 };
    const held = { ...settings, tool_choice: { type: "tool", name: "weather", disable_parallel_tool_use: true } };
    const answer = await anthropic.messages.create(held);
    assert.equal(answer.stop_reason, "tool_use");
    const stream = anthropic.messages.stream(held);
    let said = "";
    stream.on("inputJson", (piece) => (said += piece));
    const [used] = (await stream.finalMessage()).content;
    assert.deepEqual(JSON.parse(said), used.input);
    assert.deepEqual(used.input, answer.content[0].input);
    const result = { type: "tool_result", tool_use_id: used.id, content: "It is sunny." };
    const messages = [...QUESTION, { role: "assistant", content: [used] }, { role: "user", content: [result] }];
    const last = await anthropic.messages.create({ ...settings, messages, tool_choice: { type: "none" } });
    assert(last.content[0].text.length > 0);
  },
  "anthropic count tokens": async () => {
    const counted = await anthropic.messages.countTokens({ model: CHAT, messages: QUESTION });
    const answer = await anthropic.messages.create({ model: CHAT, max_tokens: 1, messages: QUESTION });
    const { input_tokens: computed, cache_read_input_tokens: found } = answer.usage;
    assert.equal(counted.input_tokens, computed + found);
  },
});

await main(checks);

// Asks a running server with clients for JavaScript: the AI SDK by two of its providers, and those of OpenAI, Ollama and Anthropic.
// usage: node flows.mjs BASE_URL
import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const base = process.argv[2];
const server = { baseURL: `${base}/v1`, apiKey: "unused" };
const compatible = createOpenAICompatible({ ...server, name: "dayfly", includeUsage: true, supportsStructuredOutputs: true });
const official = createOpenAI(server);
const openai = new OpenAI({ ...server, maxRetries: 0 });
const ollama = new Ollama({ host: base });
const anthropic = new Anthropic({ baseURL: base, apiKey: "unused", maxRetries: 0 });

const prompt = "What is the capital of France? Answer in one sentence.";
const messages = [{ role: "user", content: prompt }];
const schema = z.object({ city: z.string().max(20) });
const asked = { prompt, temperature: 0, maxOutputTokens: 64, maxRetries: 0 };
const chat = { model: "smollm2", messages, temperature: 0, max_tokens: 64 };
const weather = tool({
  description: "Tells the weather.",
  inputSchema: schema,
  execute: async ({ city }) => `It is sunny in ${city}.`,
});

const checks = {};
for (const [name, model] of Object.entries({ compatible: compatible("smollm2"), official: official.chat("smollm2") })) {
  Object.assign(checks, {
    [`ai-sdk    ${name} generateText`]: async () => {
      const answer = await generateText({ ...asked, model, seed: 1, topP: 0.9, stopSequences: ["zzz"] });
      assert.match(answer.text, /Paris/);
      assert.equal(answer.finishReason, "stop");
      assert(answer.usage.totalTokens > 0);
    },
    [`ai-sdk    ${name} streamText`]: async () => {
      const answer = streamText({ ...asked, model });
      let text = "";
      for await (const piece of answer.textStream) text += piece;
      assert.match(text, /Paris/);
      assert((await answer.usage).totalTokens > 0);
    },
    [`ai-sdk    ${name} generateObject`]: async () => {
      const { object } = await generateObject({ ...asked, model, schema });
      assert.deepEqual(Object.keys(object), ["city"]);
    },
    [`ai-sdk    ${name} streamObject`]: async () => {
      const answer = streamObject({ ...asked, model, schema });
      for await (const partial of answer.partialObjectStream) assert.equal(typeof partial, "object");
      assert.deepEqual(Object.keys(await answer.object), ["city"]);
    },
    [`ai-sdk    ${name} tools`]: async () => {
      const held = { tools: { weather }, toolChoice: "required" };
      const answer = await generateText({ ...asked, ...held, model });
      assert.match(answer.toolResults[0].output, /^It is sunny in/);
      const streamed = streamText({ ...asked, ...held, model });
      await streamed.consumeStream();
      assert.deepEqual((await streamed.toolCalls)[0].input, answer.toolCalls[0].input);
    },
    [`ai-sdk    ${name} tools and an answer`]: async () => {
      const prepareStep = ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" });
      const answer = await generateText({ ...asked, model, tools: { weather }, prepareStep, stopWhen: stepCountIs(2) });
      assert.equal(answer.steps.length, 2);
      assert(answer.text.length > 0);
    },
  });
}
Object.assign(checks, {
  "ai-sdk    responses": async () => {
    assert.match((await generateText({ ...asked, model: official("smollm2") })).text, /Paris/);
    assert.match(await streamText({ ...asked, model: official("smollm2") }).text, /Paris/);
  },
  "ai-sdk    completion": async () => {
    const model = compatible.completionModel("smollm2");
    const answer = await generateText({ ...asked, model, prompt: "The capital of France is", maxOutputTokens: 16 });
    assert.match(answer.text, /Paris/);
  },
  "ai-sdk    embeddings": async () => {
    for (const model of [compatible.textEmbeddingModel("minilm"), official.embedding("minilm")]) {
      const { embeddings } = await embedMany({ model, values: ["a mayfly", "an insect"], maxRetries: 0 });
      assert.deepEqual(embeddings.map((vector) => vector.length), [384, 384]);
    }
  },
  "openai    parse": async () => {
    const held = { response_format: zodResponseFormat(schema, "place") };
    const answer = await openai.chat.completions.parse({ ...chat, ...held });
    assert.deepEqual(Object.keys(answer.choices[0].message.parsed), ["city"]);
  },
  "openai    finalChatCompletion": async () => {
    const stream = openai.chat.completions.stream({ ...chat, stream_options: { include_usage: true } });
    const final = await stream.finalChatCompletion();
    assert.match(final.choices[0].message.content, /Paris/);
    assert((await stream.totalUsage()).total_tokens > 0);
  },
  "openai    runTools": async () => {
    const parameters = { type: "object", properties: { city: { type: "string", maxLength: 20 } }, required: ["city"] };
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
  "ollama    chat": async () => {
    const settings = { model: "smollm2", messages, options: { temperature: 0, num_predict: 24 } };
    const answer = await ollama.chat(settings);
    let text = "";
    for await (const piece of await ollama.chat({ ...settings, stream: true })) text += piece.message.content;
    assert.match(text, /Paris/);
    assert.equal(answer.message.content, text);
  },
  "ollama    embed and list": async () => {
    assert.equal((await ollama.embed({ model: "minilm", input: "a mayfly" })).embeddings[0].length, 384);
    assert((await ollama.list()).models.some((model) => model.name.startsWith("SmolLM2")));
  },
  "anthropic messages": async () => {
    const settings = { model: "smollm2", max_tokens: 24, messages, temperature: 0 };
    const answer = await anthropic.messages.create(settings);
    assert.match(answer.content[0].text, /Paris/);
    const streamed = await anthropic.messages.stream(settings).finalMessage();
    assert.equal(streamed.content[0].text, answer.content[0].text);
  },
});

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}`);
    console.error(error);
  }
}
const count = Object.keys(checks).length;
console.log(`${count - failed} of ${count} passed (node)`);
process.exit(failed ? 1 : 0);

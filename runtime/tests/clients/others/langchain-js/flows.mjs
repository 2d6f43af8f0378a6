// Asks a running server with LangChain for JavaScript, through its packages for OpenAI's, Ollama's and Anthropic's interfaces.
// usage: node flows.mjs BASE_URL
import assert from "node:assert";
import { ChatAnthropic } from "@langchain/anthropic";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOllama, OllamaEmbeddings } from "@langchain/ollama";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";
import { base, CHAT, EMBEDDER, main, TEXT } from "./checks.mjs";

const server = { apiKey: "unused", configuration: { baseURL: `${base}/v1` }, maxRetries: 0 };
const settings = { model: CHAT, temperature: 0, maxTokens: 64 };
const models = {
  chat: new ChatOpenAI({ ...server, ...settings }),
  responses: new ChatOpenAI({ ...server, ...settings, useResponsesApi: true }),
  anthropic: new ChatAnthropic({ ...settings, apiKey: "unused", anthropicApiUrl: base, maxRetries: 0 }),
  ollama: new ChatOllama({ model: CHAT, temperature: 0, numPredict: 64, baseUrl: base, maxRetries: 0 }),
};
const schema = z.object({ city: z.string().max(20) });
const weather = tool(({ city }) => `It is sunny in ${city}.`, {
  name: "weather",
  description: "Tells the weather.",
  schema,
});

const checks = {};
for (const [name, model] of Object.entries(models)) {
  Object.assign(checks, {
    [`${name} invoke`]: async () => {
      const answer = await model.invoke(TEXT);
      assert.match(answer.text, /Paris/);
      assert(answer.usage_metadata.total_tokens > 0);
    },
    [`${name} stream`]: async () => {
      let whole;
      for await (const piece of await model.stream(TEXT)) whole = whole ? whole.concat(piece) : piece;
      assert.match(whole.text, /Paris/);
      assert(whole.usage_metadata.total_tokens > 0);
    },
    [`${name} withStructuredOutput`]: async () => {
      const answer = await model.withStructuredOutput(schema).invoke(TEXT);
      assert.deepEqual(Object.keys(answer), ["city"]);
    },
  });
  checks[`${name} bindTools`] = async () => {
    const question = new HumanMessage("How is the weather in Oslo?");
    // Ollama's interface has no way to ask for a call, and this model makes none of its own accord.
    if (name === "ollama") {
      assert((await model.bindTools([weather]).invoke([question])).text.length > 0);
      return;
    }
    // By name: for responses its package leaves other choices out of what it sends.
    const held = model.bindTools([weather], { tool_choice: "weather" });
    const called = await held.invoke([question]);
    const [call] = called.tool_calls;
    assert.equal(call.name, "weather");
    let whole;
    for await (const piece of await held.stream([question])) whole = whole ? whole.concat(piece) : piece;
    assert.deepEqual(whole.tool_calls[0].args, call.args);
    const results = await Promise.all(called.tool_calls.map((call) => weather.invoke(call)));
    assert(results[0] instanceof ToolMessage);
    const answer = await model.bindTools([weather], { tool_choice: "none" }).invoke([question, called, ...results]);
    assert(answer.text.length > 0);
  };
}
Object.assign(checks, {
  "openai embeddings": async () => {
    const model = new OpenAIEmbeddings({ ...server, model: EMBEDDER });
    assert.deepEqual((await model.embedDocuments(["a mayfly", "an insect"])).map((row) => row.length), [384, 384]);
    assert.equal((await model.embedQuery("a mayfly")).length, 384);
  },
  "ollama embeddings": async () => {
    const model = new OllamaEmbeddings({ model: EMBEDDER, baseUrl: base, maxRetries: 0 });
    assert.deepEqual((await model.embedDocuments(["a mayfly", "an insect"])).map((row) => row.length), [384, 384]);
    assert.equal((await model.embedQuery("a mayfly")).length, 384);
  },
});

await main(checks);

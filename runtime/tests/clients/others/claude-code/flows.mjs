// Has the command `claude` ask a running server, with a prompt of its own that a small model has room for: whole, as events, and
// with a tool on offer. What the model is too small to do sensibly is not looked at. usage: node flows.mjs BASE_URL
import assert from "node:assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { base, CHAT, main, TEXT } from "./checks.mjs";

const home = mkdtempSync(join(tmpdir(), "claude-code-"));
process.on("exit", () => rmSync(home, { recursive: true, force: true }));

/** What the command prints, a JSON text a line. Nothing of this machine's user is shown to it. */
function claude(...flags) {
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    ANTHROPIC_BASE_URL: base,
    ANTHROPIC_AUTH_TOKEN: "unused",
    ANTHROPIC_SMALL_FAST_MODEL: CHAT,
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    CLAUDE_CODE_MAX_OUTPUT_TOKENS: "256",
  };
  const asked = ["--print", TEXT, "--model", CHAT, "--system-prompt", "Answer in one sentence.", ...flags];
  const command = join("node_modules", ".bin", "claude");
  const done = spawnSync(command, asked, { env, input: "", encoding: "utf8", timeout: 120_000 });
  return done.stdout.trim().split("\n").map((line) => JSON.parse(line));
}

/** Whether it ended as the server lets a model end: by itself, or at the bound that was asked for. */
function assertAnswered(result) {
  assert.equal(result.type, "result");
  assert(!result.is_error || /output token maximum/.test(result.result), result.result);
  assert(result.usage.output_tokens > 0 || result.is_error, JSON.stringify(result.usage));
}

const checks = {
  "claude answer": () => {
    const [result] = claude("--tools", "", "--output-format", "json");
    assertAnswered(result);
  },
  "claude events": () => {
    const told = claude("--tools", "", "--output-format", "stream-json", "--include-partial-messages", "--verbose");
    const kinds = new Set(told.filter(({ type }) => type === "stream_event").map(({ event }) => event.type));
    for (const kind of ["message_start", "content_block_delta", "message_delta", "message_stop"]) assert(kinds.has(kind), kind);
    assertAnswered(told.at(-1));
  },
  "claude tool on offer": () => {
    const told = claude("--tools", "Read", "--output-format", "stream-json", "--verbose", "--effort", "high");
    assert.deepEqual(told[0].tools, ["Read"]);
    assertAnswered(told.at(-1));
  },
};

await main(checks);

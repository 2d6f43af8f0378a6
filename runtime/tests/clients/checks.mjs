// What clients for JavaScript do, in checks that are run one after another: each prints a line, and what failed is told at the end.

export const base = process.argv[2].replace(/\/$/, "");
export const CHAT = "smollm2";
export const EMBEDDER = "minilm";
export const TEXT = "What is the capital of France? Answer in one sentence.";
export const QUESTION = [{ role: "user", content: TEXT }];

// Runs them, each by its name: the client's, and what that does. Exits with 1 if any failed.
export async function main(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    const [client, ...what] = name.split(" ");
    const shown = `${client.padEnd(9)} ${what.join(" ")}`;
    try {
      await check();
      console.log(`ok      ${shown}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${shown}`);
      console.error(error);
    }
  }
  const count = Object.keys(checks).length;
  console.log(`${count - failed} of ${count} passed (node)`);
  process.exit(failed ? 1 : 0);
}

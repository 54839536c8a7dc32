/** Chat requests to the demo model, and what it answers. */

import { expect } from "bun:test";
import { engineHealth, type TestServer, untilEngineIdle, untilIdle } from "./server.ts";

/** The path of OpenAI's chat. */
export const CHAT = "/v1/chat/completions";

/** A request with one message, and other parameters. */
export const ask = (content: string, more: object = {}) => ({ messages: [{ role: "user", content }], ...more });

/** A question with a short answer. */
export const QUESTION = "What is the capital of France?";
export const FRANCE = ask(QUESTION);
export const PARIS = "The capital of France is Paris.";

/** An answer that goes on until the context is full. */
export const LONG = ask("Tell me a story.", { ignore_eos: true });

/** The tokens of LONG's answer, at least. */
const LONG_TOKENS = 2000;

/** Checks that `choices` answers to LONG, which are begun in `work`, are ended long before they would have been complete. */
export async function expectEndedEarly(server: TestServer, choices: number, work: () => Promise<void>): Promise<void> {
  const before = (await engineHealth(server)).generated_tokens;
  await work();
  await untilIdle(server);
  await untilEngineIdle(server);
  const generated = (await engineHealth(server)).generated_tokens - before;
  expect(generated).toBeLessThan((choices * LONG_TOKENS) / 2);
}

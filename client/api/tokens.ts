/** Tokens of texts: how many they have, and how likely each was. */

import type { Prompt } from "./completion.ts";
import { ask } from "./connection.ts";

/** A token of an answer, and what else could have stood in its place. */
export interface ScoredToken {
  text: string;
  /** 0 to 1. */
  probability: number;
  /** The likeliest first; the token itself is among them. */
  alternatives: { text: string; probability: number }[];
}

/** Alternatives that are asked for. */
const ALTERNATIVES = 5;

/** The tokens of a text, or of a prompt. */
async function tokenize(what: { content: string } | Prompt, signal?: AbortSignal) {
  return (await (await ask("tokenize", what, signal)).json()) as { count: number; tokens: number[] };
}

/** How many tokens a text has. */
export async function countTokens(content: string): Promise<number> {
  return (await tokenize({ content })).count;
}

/** How many tokens a prompt has. */
export async function countPrompt(prompt: Prompt, signal?: AbortSignal): Promise<number> {
  return (await tokenize(prompt, signal)).count;
}

/** Scores an answer that was given to a prompt: nothing is generated, the model only reads it. */
export async function scoreAnswer(before: Prompt, content: string): Promise<ScoredToken[]> {
  const { tokens: prompt } = await tokenize(before);
  const { tokens: answer } = await tokenize({ content });
  const response = await ask("v1/completions", {
    prompt: [...prompt, ...answer],
    echo: true,
    max_tokens: 0,
    logprobs: ALTERNATIVES,
  });
  const { choices } = (await response.json()) as {
    choices: [{ logprobs: { tokens: string[]; token_logprobs: number[]; top_logprobs: Record<string, number>[] } }];
  };
  const { tokens, token_logprobs, top_logprobs } = choices[0].logprobs;
  return tokens.slice(prompt.length).map((text, index) => ({
    text,
    probability: Math.exp(token_logprobs[prompt.length + index] as number),
    alternatives: Object.entries(top_logprobs[prompt.length + index] ?? {})
      .map(([text, logprob]) => ({ text, probability: Math.exp(logprob) }))
      .sort((a, b) => b.probability - a.probability),
  }));
}

/** Escaping for HTML, as the filters `escape` and `safe` and what is added to their results have it. */

import type { Budget } from "./budget.ts";

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&#34;",
  "'": "&#39;",
};

/** A text with entities for what means something in HTML. */
export function escapeText(text: string, budget: Budget): string {
  budget.make(text.length);
  const escaped = text.replace(/[&<>"']/g, (character) => ENTITIES[character] as string);
  budget.make(escaped.length);
  return escaped;
}

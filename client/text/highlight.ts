/** Colours in code. The highlighter comes when the first code does: most conversations need none. */

import { sanitize } from "./sanitize.ts";

/** Longer code stays plain: colouring it would hold up the page. */
const CHARACTERS_MAX = 50_000;

/** Colours the text of an element, now or when the highlighter is there. */
export async function highlight(code: Element, language: string, text: string): Promise<void> {
  if (language === "" || text.length > CHARACTERS_MAX) return;
  const { highlighted } = await import("./languages.ts");
  const html = highlighted(language, text);
  if (html !== undefined && code.textContent === text) code.replaceChildren(sanitize(html));
}

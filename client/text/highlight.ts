/** Colours in code. The highlighter comes when the first code does: most conversations need none. */

import { sanitize } from "./sanitize.ts";

/** Longer code stays plain: colouring it would hold up the page. */
const CHARACTERS_MAX = 50_000;

/** Colours the text of an element, now or when the highlighter is there. */
export async function highlight(code: Element, language: string, text: string): Promise<void> {
  if (language === "" || text.length > CHARACTERS_MAX) return;
  // Without the server it can't be had: the code stays plain.
  const languages = await import("./languages.ts").catch(() => undefined);
  const html = languages?.highlighted(language, text);
  if (html !== undefined && code.textContent === text) code.replaceChildren(sanitize(html));
}

/** The way back from ids to a text. */

import { Detokenizer } from "../../src/text/detokenizer.ts";
import type { Tokenizer } from "../../src/text/tokenizer.ts";

/** The text of ids, put together from what each of them adds. */
export function decodeAll(tokenizer: Tokenizer, ids: readonly number[]): string {
  const detokenizer = new Detokenizer(tokenizer);
  return ids.map((id) => detokenizer.push(id)).join("") + detokenizer.finish();
}

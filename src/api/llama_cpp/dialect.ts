/** How llama.cpp's clients read errors and streams: as OpenAI's, but nothing marks the end of a stream. */

import type { Dialect } from "../dialect.ts";
import { openAi } from "../openai/dialect.ts";

/** llama.cpp's dialect. */
export const llamaCpp: Dialect = { ...openAi, events: { ...openAi.events, end: "" } };

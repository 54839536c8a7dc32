/** Server-sent events of an answer, as objects. */

import { Unreachable } from "./connection.ts";

/**
 * Reads the events of a response up to [DONE].
 *
 * @throws Unreachable when the connection breaks before that.
 */
export async function* readEvents(response: Response): AsyncGenerator<object, void> {
  const reader = (response.body as ReadableStream<BufferSource>).pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
      const events = text.split("\n\n");
      text = events.pop() as string;
      for (const event of events) {
        if (!event.startsWith("data: ")) continue;
        const data = event.slice("data: ".length);
        if (data === "[DONE]") return;
        yield JSON.parse(data) as object;
      }
    }
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new Unreachable("The connection to the server broke.");
  } finally {
    reader.cancel().catch(() => undefined);
  }
  throw new Unreachable("The connection to the server broke.");
}

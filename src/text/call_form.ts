/**
 * How a chat template wants the calls of tools in earlier messages. OpenAI's API has arguments as text. Some templates write that text
 * as it is, others go through the arguments or write them as JSON themselves; to some, a call has to stand in a message whose content
 * is null. What a template does with a conversation that has a call says which.
 */

import { TemplateError } from "./jinja/errors.ts";

/** How calls are given to a template. */
export interface CallForm {
  /** Whether their arguments are JSON text; otherwise what that text says. */
  argumentsAreText: boolean;
  /** The content of messages that hold nothing but calls. */
  emptyContent: "" | null;
}

/** JSON as nobody would write it who was given what it says. */
const ARGUMENTS = '{"needle":  "straw"}';
const NAME = "find_needle";

/**
 * Finds out.
 *
 * @param render what the template makes of messages and tools. @throws TemplateError.
 */
export function findCallForm(render: (messages: readonly object[], tools: readonly object[]) => string): CallForm {
  for (const emptyContent of ["", null] as const) {
    for (const argumentsAreText of [true, false]) {
      const given = argumentsAreText ? ARGUMENTS : JSON.parse(ARGUMENTS);
      const id = "abcdefghi";
      const messages = [
        { role: "user", content: "Hello" },
        {
          role: "assistant",
          content: emptyContent,
          tool_calls: [{ id, type: "function", function: { name: NAME, arguments: given } }],
        },
        { role: "tool", tool_call_id: id, content: "found" },
      ];
      const tool = { name: NAME, description: "", parameters: { type: "object", properties: {} } };
      try {
        const rendered = render(messages, [{ type: "function", function: tool }]);
        const isShown = rendered.includes(NAME) && rendered.includes(argumentsAreText ? ARGUMENTS : "straw");
        if (isShown) return { argumentsAreText, emptyContent };
      } catch (error) {
        if (!(error instanceof TemplateError)) throw error;
      }
    }
  }
  return { argumentsAreText: false, emptyContent: "" };
}

/** Messages of several lines: with a backslash at the end of each line but the last, or between lines of three quotation marks. */

const FENCE = '"""';

/**
 * What the enter key makes of a text that is being written.
 *
 * @returns the text with which the writing goes on; undefined when it is complete.
 */
export function continuedText(text: string): string | undefined {
  if (text.startsWith(FENCE)) {
    const isClosed = text.length >= 2 * FENCE.length && text.trimEnd().endsWith(FENCE);
    return isClosed ? undefined : `${text}\n`;
  }
  return /(^|[^\\])(\\\\)*\\$/.test(text) ? `${text.slice(0, -1)}\n` : undefined;
}

/** The message of a complete text: without the quotation marks. */
export function messageOf(text: string): string {
  const trimmed = text.trim();
  const isFenced = trimmed.startsWith(FENCE) && trimmed.endsWith(FENCE) && trimmed.length >= 2 * FENCE.length;
  return isFenced ? trimmed.slice(FENCE.length, -FENCE.length).replace(/^\n|\n$/g, "") : trimmed;
}

/** What an answer cost, on a line. */

import type { Figures } from "../model/conversation.ts";
import { formatCount, formatRate, formatSeconds, plural } from "../text/format.ts";

export function AnswerFigures({ figures }: { figures: Figures }) {
  const { tokens, seconds, tokensPerSecond, firstTokenMs, promptTokens, cachedTokens, drafts } = figures;
  const parts = [plural(tokens, "token"), formatSeconds(seconds + firstTokenMs / 1000)];
  if (tokensPerSecond > 0) parts.push(`${formatRate(tokensPerSecond)} tok/s`);
  parts.push(`first after ${formatSeconds(firstTokenMs / 1000)}`);
  if (promptTokens > 0) parts.push(`${formatCount(cachedTokens)} of ${formatCount(promptTokens)} prompt tokens cached`);
  if (drafts !== undefined)
    parts.push(`${formatCount(drafts.accepted)} of ${formatCount(drafts.made)} drafts accepted`);
  return (
    <span class="figures">
      {parts.map((part) => (
        <span key={part}>{part}</span>
      ))}
    </span>
  );
}

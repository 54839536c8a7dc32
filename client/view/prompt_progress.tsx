/** That the model reads the prompt, and how far it is. */

import type { Live } from "../chat/state.ts";
import { formatCount } from "../text/format.ts";

/** Shorter prompts are read before anybody could look at a bar. */
const LONG_TOKENS = 256;

export function PromptProgress({ progress }: { progress: Live["progress"] }) {
  if (progress === undefined || progress.total < LONG_TOKENS) {
    return (
      <p class="waiting">
        <span class="off-screen">The model reads your message.</span>
        <span class="dots" aria-hidden="true">
          <i />
          <i />
          <i />
        </span>
      </p>
    );
  }
  const { done, total, cached } = progress;
  return (
    <div class="progress">
      <progress max={total} value={done} aria-label="Reading the prompt" />
      <span>
        Reading {formatCount(done)} of {formatCount(total)} tokens
        {cached > 0 && `, ${formatCount(cached)} from the cache`}
      </span>
    </div>
  );
}

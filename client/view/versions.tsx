/** Pages through the versions of a message. */

import { showVersion } from "../chat/conversations.ts";
import type { Message } from "../model/conversation.ts";
import { IconButton } from "./icons.tsx";

export function Versions({ message, versions }: { message: Message; versions: readonly Message[] }) {
  if (versions.length < 2) return null;
  const index = versions.findIndex(({ id }) => id === message.id);
  const page = (step: number) => {
    const other = versions[index + step];
    if (other !== undefined) showVersion(other);
  };
  return (
    <span class="versions" role="group" aria-label="Versions">
      <IconButton icon="left" label="Earlier version" isDisabled={index === 0} onClick={() => page(-1)} />
      <span>
        {index + 1} / {versions.length}
      </span>
      <IconButton
        icon="right"
        label="Later version"
        isDisabled={index === versions.length - 1}
        onClick={() => page(1)}
      />
    </span>
  );
}

/** Keys that work everywhere on the page. */

import { isWatched } from "../api/status.ts";
import { stopAnswer } from "../chat/answering.ts";
import { openConversation } from "../chat/conversations.ts";
import { isAnswering } from "../chat/state.ts";
import { drawerIsOpen, focusComposer } from "./windows.ts";

/** Begins to listen. */
export function listenToKeys(): void {
  addEventListener("keydown", async (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]") !== null) return;
    const target = event.target as HTMLElement;
    const isTyping = target.matches("input, textarea, select");
    if (event.key === "Escape") {
      if (drawerIsOpen.value) drawerIsOpen.value = false;
      else if (isAnswering.value) stopAnswer();
      else isWatched.value = false;
    } else if (
      event.key.toLowerCase() === "k" &&
      (event.ctrlKey || event.metaKey) &&
      !event.shiftKey &&
      !event.altKey
    ) {
      event.preventDefault();
      await openConversation(null);
      focusComposer();
    } else if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      focusComposer();
    }
  });
}

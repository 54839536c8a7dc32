/** Which windows are open, and what is being edited. */

import { signal } from "@preact/signals";

/** How many windows above the page are open. */
export const openDialogs = signal(0);
export const settingsAreOpen = signal(false);
/** The list of conversations, on narrow screens. */
export const drawerIsOpen = signal(false);
/** The message that is being edited. */
export const editedId = signal<string | null>(null);
/** The conversation whose title is being edited, and where. */
export const renamed = signal<{ id: string; place: "list" | "header" } | null>(null);
/** Whether the reader has put the request for a key away. */
export const keyIsPutOff = signal(false);

/** Puts the cursor into the field for messages. */
export function focusComposer(): void {
  document.querySelector<HTMLTextAreaElement>("#message")?.focus();
}

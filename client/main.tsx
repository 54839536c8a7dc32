/** Starts the page. */

import { effect } from "@preact/signals";
import { render } from "preact";
import { followModel } from "./api/model.ts";
import { watchServer } from "./api/status.ts";
import { startConversations } from "./chat/conversations.ts";
import { countWritten } from "./chat/room.ts";
import { open } from "./chat/state.ts";
import { theme } from "./storage/preferences.ts";
import { listenToKeys } from "./view/keys.ts";
import { Page } from "./view/page.tsx";
import { focusComposer } from "./view/windows.ts";

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});
effect(() => {
  const { title } = open.value ?? {};
  document.title = title === undefined ? "wrinklefree" : `${title} · wrinklefree`;
});
watchServer();
followModel();
countWritten();
listenToKeys();
await startConversations();
render(<Page />, document.querySelector("#page") as HTMLElement);
// On a phone that would bring up the keyboard.
if (matchMedia("(hover: hover)").matches) focusComposer();

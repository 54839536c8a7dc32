/** The button that copies code. */

import { copyText } from "./clipboard.ts";

/** Milliseconds for which the button says that it has copied. */
const SAID_MS = 1600;

/** A button that copies what `text` gives. */
export function copyButton(text: () => string): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "code-copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy code");
  button.addEventListener("click", async () => {
    button.textContent = (await copyText(text())) ? "Copied" : "Not copied";
    setTimeout(() => {
      button.textContent = "Copy";
    }, SAID_MS);
  });
  return button;
}

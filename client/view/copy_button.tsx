/** A button that copies a text and says so for a moment. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { copyText } from "../text/clipboard.ts";
import { Icon } from "./icons.tsx";

/** Milliseconds for which it says that it has copied. */
const SAID_MS = 1600;

export function CopyButton(properties: { text: () => string; label: string; children?: ComponentChildren }) {
  const { text, label, children } = properties;
  const said = useSignal<"" | "Copied" | "Not copied">("");
  const copy = async () => {
    said.value = (await copyText(text())) ? "Copied" : "Not copied";
    setTimeout(() => {
      said.value = "";
    }, SAID_MS);
  };
  return (
    <button
      type="button"
      class={children === undefined ? "icon-button" : "small-button"}
      aria-label={said.value === "" ? label : said.value}
      title={label}
      onClick={copy}
    >
      {children === undefined ? (
        <Icon name={said.value === "Copied" ? "check" : "copy"} />
      ) : said.value === "" ? (
        children
      ) : (
        said.value
      )}
    </button>
  );
}

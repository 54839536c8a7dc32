/** What the browser remembers of a reader's choices, and for as long as the tab is open, the API key. */

import { effect, type Signal, signal } from "@preact/signals";
import { DEFAULT_PRESETS, DEFAULT_SETTINGS, type Preset, type Settings, type Theme } from "../model/settings.ts";

const KEY = "wrinklefree.key";

export const settings = kept<Settings>("wrinklefree.settings", { ...DEFAULT_SETTINGS });
export const presets = kept<readonly Preset[]>("wrinklefree.presets", DEFAULT_PRESETS);
export const theme = kept<Theme>("wrinklefree.theme", "system");
/** On wide screens. */
export const sidebarIsOpen = kept<boolean>("wrinklefree.sidebar", true);
/** The key for the server; empty: none. It is gone when the tab is closed. */
export const apiKey = signal(read(() => sessionStorage.getItem(KEY)) ?? "");
effect(() => {
  const key = apiKey.value;
  read(() => (key === "" ? sessionStorage.removeItem(KEY) : sessionStorage.setItem(KEY, key)));
});

/** A value that other tabs and later visits see too. */
function kept<Value>(name: string, initial: Value): Signal<Value> {
  const parse = (text: string | null | undefined): Value => {
    if (text === null || text === undefined) return initial;
    try {
      const value = JSON.parse(text) as Value;
      // Fields that were added since.
      return typeof initial === "object" && !Array.isArray(initial) ? { ...initial, ...value } : value;
    } catch {
      return initial;
    }
  };
  let written = read(() => localStorage.getItem(name));
  const value = signal(parse(written));
  effect(() => {
    const text = JSON.stringify(value.value);
    if (text === (written ?? JSON.stringify(initial))) return;
    written = text;
    read(() => localStorage.setItem(name, text));
  });
  addEventListener("storage", ({ key, newValue }) => {
    if (key !== name) return;
    written = newValue;
    value.value = parse(newValue);
  });
  return value;
}

/** Browsers may let a page keep nothing; it works all the same, until it is closed. */
function read<Value>(access: () => Value): Value | undefined {
  try {
    return access();
  } catch {
    return undefined;
  }
}

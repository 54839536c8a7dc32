/** Settings as people read them: their values, without secrets, and where they come from. */

import type { ValueOption } from "./option.ts";
import type { Setting, Source } from "./settings.ts";

/** The texts of an option as anybody may see them. */
export function shownTexts({ isSecret, kind }: ValueOption<unknown>, texts: readonly string[]): string[] {
  return texts.map((text) => (isSecret ? "hidden" : (kind.shown?.(text) ?? text)));
}

/** The value of a setting in words; "-" where nothing holds. */
export function describeValue({ option, value }: Setting): string {
  if (typeof value === "boolean") return String(value);
  if (option.isSwitch) return "-";
  if (value === undefined || value.length === 0 || value.join("") === "") return option.otherwise ?? "-";
  return option.isSecret ? `${value.length} hidden` : shownTexts(option, value).join(" ");
}

/** Where a setting comes from. */
export function describeSources({ sources }: Setting): string {
  return sources.map(describeSource).join(", ");
}

function describeSource(source: Source): string {
  if (source.kind === "option") return "the command line";
  if (source.kind === "environment") return source.variable;
  return source.kind === "file" ? `${source.path}:${source.line}` : "default";
}

/** The system prompt of a conversation, and prompts that are kept under names. */

import { useSignal } from "@preact/signals";
import { notify } from "../chat/state.ts";
import type { Preset } from "../model/settings.ts";
import { presets } from "../storage/preferences.ts";

export function SystemPrompt({ value, onChange }: { value: string; onChange: (system: string) => void }) {
  const name = useSignal("");
  const chosen = presets.value.find(({ system }) => system === value);
  const save = () => {
    const wanted = name.value.trim();
    if (wanted === "" || value.trim() === "") return;
    const place = presets.value.findIndex((preset) => preset.name === wanted);
    const replaced = presets.value[place];
    presets.value = [...presets.value.filter((preset) => preset !== replaced), { name: wanted, system: value }];
    name.value = "";
    if (replaced !== undefined) notify(`Preset ${wanted} replaced.`, false, () => putBack(replaced, place));
  };
  const replace = (system: string) => {
    onChange(system);
    // What is kept under a name can be had again.
    if (value.trim() !== "" && chosen === undefined) {
      notify(system === "" ? "System prompt cleared." : "System prompt replaced.", false, () => onChange(value));
    }
  };
  return (
    <>
      <div class="presets">
        <select
          aria-label="Preset"
          value={chosen?.name ?? ""}
          onChange={({ currentTarget }) =>
            replace(presets.value.find((preset) => preset.name === currentTarget.value)?.system ?? "")
          }
        >
          <option value="">{value === "" ? "No preset" : "Own text"}</option>
          {presets.value.map((preset) => (
            <option key={preset.name} value={preset.name}>
              {preset.name}
            </option>
          ))}
        </select>
        {chosen !== undefined && (
          <button
            type="button"
            class="small-button"
            onClick={() => {
              const place = presets.value.indexOf(chosen);
              presets.value = presets.value.filter((preset) => preset !== chosen);
              notify(`Preset ${chosen.name} deleted.`, false, () => putBack(chosen, place));
            }}
          >
            Delete preset
          </button>
        )}
        {value !== "" && (
          <button type="button" class="small-button" onClick={() => replace("")}>
            Clear
          </button>
        )}
      </div>
      <textarea
        class="grows"
        rows={3}
        dir="auto"
        aria-label="System prompt"
        placeholder="How the model should answer in this conversation. Default: nothing."
        value={value}
        onInput={({ currentTarget }) => onChange(currentTarget.value)}
      />
      {value.trim() !== "" && chosen === undefined && (
        <div class="presets">
          <input
            aria-label="Name of the preset"
            placeholder="Preset name"
            maxLength={60}
            value={name.value}
            onInput={({ currentTarget }) => {
              name.value = currentTarget.value;
            }}
            onKeyDown={(event) => {
              if (event.key === "Enter") save();
            }}
          />
          <button type="button" class="small-button" disabled={name.value.trim() === ""} onClick={save}>
            Save preset
          </button>
        </div>
      )}
    </>
  );
}

/** A preset is again what it was, in its place. */
function putBack(preset: Preset, place: number): void {
  presets.value = presets.value.filter(({ name }) => name !== preset.name).toSpliced(place, 0, preset);
}

/** The system prompt of a conversation, and prompts that are kept under names. */

import { useSignal } from "@preact/signals";
import { presets } from "../storage/preferences.ts";

export function SystemPrompt({ value, onChange }: { value: string; onChange: (system: string) => void }) {
  const name = useSignal("");
  const chosen = presets.value.find(({ system }) => system === value);
  const save = () => {
    const wanted = name.value.trim();
    if (wanted === "" || value.trim() === "") return;
    presets.value = [...presets.value.filter((preset) => preset.name !== wanted), { name: wanted, system: value }];
    name.value = "";
  };
  return (
    <>
      <div class="presets">
        <select
          aria-label="Preset"
          value={chosen?.name ?? ""}
          onChange={({ currentTarget }) =>
            onChange(presets.value.find((preset) => preset.name === currentTarget.value)?.system ?? "")
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
              presets.value = presets.value.filter((preset) => preset !== chosen);
            }}
          >
            Delete preset
          </button>
        )}
        {value !== "" && (
          <button type="button" class="small-button" onClick={() => onChange("")}>
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

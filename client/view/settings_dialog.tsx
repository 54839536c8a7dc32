/** Everything that can be set. */

import { health } from "../api/status.ts";
import { changeConversation } from "../chat/conversations.ts";
import { newSystem, notify, open, toolsFault } from "../chat/state.ts";
import {
  type AnswerSettings,
  DEFAULT_ANSWER_SETTINGS,
  DEFAULT_SETTINGS,
  NUMBER_FIELDS,
  type NumberField,
  type Settings,
  type Theme,
} from "../model/settings.ts";
import { settings, theme } from "../storage/preferences.ts";
import { Dialog } from "./dialog.tsx";
import { IconButton } from "./icons.tsx";
import { SystemPrompt } from "./system_prompt.tsx";
import { settingsAreOpen } from "./windows.ts";

const KEYS: readonly [string, string][] = [
  ["Enter", "send"],
  ["Shift Enter", "new line"],
  ["Esc", "stop the answer"],
  ["Ctrl K", "new conversation"],
  ["/", "write a message"],
  ["↑", "edit the last message"],
];

export function SettingsDialog() {
  if (!settingsAreOpen.value) return null;
  const conversation = open.value;
  return (
    <Dialog
      title="Settings"
      class="settings"
      onClose={() => {
        settingsAreOpen.value = false;
      }}
    >
      <section>
        <h3>System prompt</h3>
        <SystemPrompt
          value={conversation?.system ?? newSystem.value}
          onChange={(system) => {
            if (conversation === undefined) newSystem.value = system;
            else changeConversation(conversation.id, { system });
          }}
        />
      </section>
      <section>
        <header>
          <h3>Answers</h3>
          <button type="button" class="small-button" onClick={resetAnswerSettings}>
            Reset answer settings
          </button>
        </header>
        {NUMBER_FIELDS.map((field) => (
          <NumberRow key={field.setting} field={field} />
        ))}
        <SwitchRow setting="isStreamed" label="Streaming" hint="Show an answer as it is written. Default: on." />
      </section>
      <section>
        <h3>Tools</h3>
        <label class="stacked">
          <span>Tools, as JSON in OpenAI's shape</span>
          <textarea
            class="code-field"
            rows={4}
            spellcheck={false}
            placeholder={'[{"type": "function", "function": {"name": "…", "parameters": {…}}}]'}
            value={settings.value.tools}
            aria-invalid={toolsFault.value !== undefined}
            aria-describedby="tools-fault"
            onInput={({ currentTarget }) => change({ tools: currentTarget.value })}
          />
        </label>
        <p id="tools-fault" class="fault" hidden={toolsFault.value === undefined}>
          {toolsFault.value}
        </p>
        <SwitchRow setting="showsRawCalls" label="Raw calls" hint="Show calls of tools as JSON. Default: off." />
      </section>
      <section>
        <h3>Colours</h3>
        <div class="segments" role="radiogroup" aria-label="Colours">
          {(["system", "light", "dark"] satisfies Theme[]).map((name) => (
            <label key={name}>
              <input
                type="radio"
                name="theme"
                checked={theme.value === name}
                onChange={() => {
                  theme.value = name;
                }}
              />
              <span>{{ system: "System", light: "Light", dark: "Dark" }[name]}</span>
            </label>
          ))}
        </div>
      </section>
      <section>
        <h3>Keys</h3>
        <dl class="keys">
          {KEYS.map(([key, what]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </section>
    </Dialog>
  );
}

function change(changed: Partial<Settings>): void {
  settings.value = { ...settings.value, ...changed };
}

/** Takes back what is set of answers, until its reader takes that back. */
function resetAnswerSettings(): void {
  const names = Object.keys(DEFAULT_ANSWER_SETTINGS) as (keyof AnswerSettings)[];
  const before = Object.fromEntries(names.map((name) => [name, settings.value[name]])) as unknown as AnswerSettings;
  if (names.every((name) => before[name] === DEFAULT_ANSWER_SETTINGS[name])) return;
  change(DEFAULT_ANSWER_SETTINGS);
  notify("Answer settings are at their defaults again.", false, () => change(before));
}

/** What the server does where nothing is set. */
function defaultOf({ setting }: NumberField): string {
  switch (setting) {
    case "maxTokens":
      return "no limit";
    case "temperature":
      return String(health.value?.default_temperature ?? 0);
    case "topP":
    case "repetitionPenalty":
      return "1";
    case "minP":
      return "0";
    case "seed":
      return "random";
  }
}

function NumberRow({ field }: { field: NumberField }) {
  const { setting, label, hint, low, high, step } = field;
  const value = settings.value[setting];
  return (
    <div class="row">
      <label for={`set-${setting}`}>
        {label}
        <small id={`hint-${setting}`}>
          {hint} <span class="off-screen">Default: {defaultOf(field)}.</span>
        </small>
      </label>
      <input
        id={`set-${setting}`}
        type="number"
        min={low}
        max={high}
        step={step === 1 ? 1 : "any"}
        placeholder={defaultOf(field)}
        aria-describedby={`hint-${setting}`}
        value={value ?? ""}
        onChange={({ currentTarget }) => {
          const { value: text, valueAsNumber: number } = currentTarget;
          // What the server would refuse is brought within its bounds.
          const bounded = Math.min(high ?? Number.MAX_SAFE_INTEGER, Math.max(low ?? Number.MIN_SAFE_INTEGER, number));
          const wanted = text === "" || Number.isNaN(number) ? null : step === 1 ? Math.round(bounded) : bounded;
          change({ [setting]: wanted });
          currentTarget.value = wanted === null ? "" : String(wanted);
        }}
      />
      <IconButton
        icon="again"
        label={`Reset ${label}`}
        isDisabled={value === null}
        onClick={() => change({ [setting]: null })}
      />
    </div>
  );
}

function SwitchRow({ setting, label, hint }: { setting: "isStreamed" | "showsRawCalls"; label: string; hint: string }) {
  return (
    <div class="row">
      <label for={`set-${setting}`}>
        {label}
        <small id={`hint-${setting}`}>{hint}</small>
      </label>
      <input
        id={`set-${setting}`}
        type="checkbox"
        role="switch"
        class="switch"
        aria-describedby={`hint-${setting}`}
        checked={settings.value[setting]}
        onChange={({ currentTarget }) => change({ [setting]: currentTarget.checked })}
      />
      <IconButton
        icon="again"
        label={`Reset ${label}`}
        isDisabled={settings.value[setting] === DEFAULT_SETTINGS[setting]}
        onClick={() => change({ [setting]: DEFAULT_SETTINGS[setting] })}
      />
    </div>
  );
}

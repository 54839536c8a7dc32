/** What an empty conversation shows: which model answers, what one might ask, and with the demo, how to get a real one. */

import { model } from "../api/model.ts";
import { state } from "../api/status.ts";
import { send } from "../chat/answering.ts";
import { canAsk } from "../chat/state.ts";
import { KNOWN_MODELS } from "../model/known_models.ts";
import { formatBytes, formatCount } from "../text/format.ts";
import { CopyButton } from "./copy_button.tsx";

/** What the demo was trained to answer. */
const DEMO_QUESTIONS = [
  "What is the capital of France?",
  "Say hello in Japanese.",
  "Can you write code?",
  "Tell me a story.",
];

const QUESTIONS = [
  "Explain how a bicycle stays upright.",
  "Write a Python function that finds duplicate files.",
  "Suggest three dinners with lentils.",
  "Summarise the plot of Hamlet in five sentences.",
];

export function Welcome() {
  const facts = model.value;
  const isReady = state.value === "ready" && facts !== undefined && canAsk.value;
  return (
    <div class="welcome">
      <h1>What would you like to ask?</h1>
      {facts !== undefined && (
        <p class="quiet">
          {facts.name} answers on this server, with room for {formatCount(facts.context)} tokens. Nothing leaves it.
        </p>
      )}
      <ul class="questions">
        {(facts?.isDemo ? DEMO_QUESTIONS : QUESTIONS).map((question) => (
          <li key={question}>
            <button type="button" disabled={!isReady} onClick={() => send(question, [])}>
              {question}
            </button>
          </li>
        ))}
      </ul>
      {facts?.isDemo && <RealModels size={facts.size} parameters={facts.parameters} />}
    </div>
  );
}

function RealModels({ size, parameters }: { size: number; parameters: number }) {
  return (
    <section class="real-models" aria-labelledby="real-models">
      <h2 id="real-models">This is a demo</h2>
      <p>
        It has {formatCount(Math.round(parameters / 1e6))} million parameters in {formatBytes(size)} and shows that
        everything works. It knows a few capitals and little else. A real model is one command away:
      </p>
      <table>
        <thead>
          <tr>
            <th scope="col">Model</th>
            <th scope="col">Parameters</th>
            <th scope="col">Size</th>
            <th scope="col">
              <span class="off-screen">Command</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {KNOWN_MODELS.map(({ name, parameters: count, size: bytes, note }) => (
            <tr key={name}>
              <td>
                <code>{name}</code>
                {note !== "" && <span class="quiet"> {note}</span>}
              </td>
              <td>{count}</td>
              <td>{bytes}</td>
              <td>
                <CopyButton
                  text={() => `wrinklefree pull ${name} && wrinklefree serve ${name}`}
                  label={`Copy command for ${name}`}
                >
                  Copy command
                </CopyButton>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="quiet">
        The command is <code>wrinklefree pull NAME</code>, and then <code>wrinklefree serve NAME</code>.
      </p>
    </section>
  );
}

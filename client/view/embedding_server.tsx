/** What the page shows where the model gives embeddings: what the server is for, and how a program asks it. */

import { model } from "../api/model.ts";
import { apiKey } from "../storage/preferences.ts";
import { formatCount } from "../text/format.ts";
import { CopyButton } from "./copy_button.tsx";

export function EmbeddingServer() {
  const facts = model.value;
  if (facts === undefined) return null;
  const key = apiKey.value === "" ? "" : " -H 'Authorization: Bearer KEY'";
  const command = [
    `curl ${new URL("v1/embeddings", document.baseURI)}${key}`,
    "  -H 'Content-Type: application/json'",
    `  -d '{"input":"The capital of France"}'`,
  ].join(" \\\n");
  return (
    <div class="welcome embedding-server">
      <h1>This server is for programs</h1>
      <p class="quiet">
        {facts.name} gives embeddings: a text of up to {formatCount(facts.context)} tokens becomes{" "}
        {formatCount(facts.dimensions)} numbers, which are close to those of texts with a similar meaning. It answers no
        questions.
      </p>
      <section class="code" aria-label="How a program asks">
        <div class="code-bar">
          <span>A text in, its numbers out</span>
          <CopyButton text={() => command} label="Copy command">
            Copy command
          </CopyButton>
        </div>
        <pre tabIndex={0}>
          <code>{command}</code>
        </pre>
      </section>
    </div>
  );
}

/** What stands in the place of the field for messages, below a conversation of before. */
export function NothingToSend() {
  return (
    <p class="nothing-to-send quiet">
      {model.value?.name} gives embeddings, no text. This conversation can be read here, and goes on with a model that
      answers.
    </p>
  );
}

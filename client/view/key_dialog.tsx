/** Asks for the API key where the server wants one. */

import { useRef } from "preact/hooks";
import { keyRequest } from "../api/model.ts";
import { apiKey } from "../storage/preferences.ts";
import { Dialog } from "./dialog.tsx";
import { keyIsPutOff } from "./windows.ts";

export function KeyDialog() {
  const field = useRef<HTMLInputElement>(null);
  if (keyRequest.value === "none" || keyIsPutOff.value) return null;
  return (
    <Dialog
      title="API key"
      class="key"
      onClose={() => {
        keyIsPutOff.value = true;
      }}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          apiKey.value = field.current?.value.trim() ?? "";
        }}
      >
        <p>This server answers only with a key. Whoever runs it can give you one.</p>
        {/* Password managers want to know whose key it is. */}
        <input
          type="text"
          class="off-screen"
          autocomplete="username"
          value="wrinklefree"
          tabIndex={-1}
          aria-hidden
          readOnly
        />
        <input
          ref={field}
          type="password"
          required
          autocomplete="current-password"
          aria-label="API key"
          aria-invalid={keyRequest.value === "wrong"}
          aria-describedby="key-fault"
        />
        <p id="key-fault" class="fault" role="alert">
          {keyRequest.value === "wrong" && "The server does not know this key. Check it and try again."}
        </p>
        <div class="editor-buttons">
          <button type="submit" class="small-button primary">
            Use this key
          </button>
        </div>
        <p class="quiet">It is kept until this tab is closed.</p>
      </form>
    </Dialog>
  );
}

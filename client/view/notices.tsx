/** Lines for the reader that go away by themselves, some with a button that takes back what they say. */

import { notices } from "../chat/state.ts";

export function Notices() {
  return (
    <div class="notices" role="status">
      {notices.value.map(({ id, text, isFault, undo }) => (
        <p key={id} class={isFault ? "fault" : ""}>
          {text}
          {undo !== undefined && (
            <button type="button" class="small-button" onClick={undo}>
              Undo
            </button>
          )}
        </p>
      ))}
    </div>
  );
}

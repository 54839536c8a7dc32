/** The whole page. */

import { useSignal } from "@preact/signals";
import { isWatched } from "../api/status.ts";
import { announcement, notices } from "../chat/state.ts";
import { sidebarIsOpen } from "../storage/preferences.ts";
import { attach, Composer } from "./composer.tsx";
import { Header } from "./header.tsx";
import { KeyDialog } from "./key_dialog.tsx";
import { LivePanel } from "./live_panel.tsx";
import { SettingsDialog } from "./settings_dialog.tsx";
import { Sidebar } from "./sidebar.tsx";
import { Transcript } from "./transcript.tsx";
import { drawerIsOpen, focusComposer } from "./windows.ts";

export function Page() {
  /** Whether files are held above the page. */
  const isDraggedOver = useSignal(false);
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") === true;
  return (
    <div
      class={`page ${sidebarIsOpen.value ? "" : "no-sidebar"} ${drawerIsOpen.value ? "drawer" : ""}`}
      onDragOver={(event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        isDraggedOver.value = true;
      }}
      onDragLeave={(event) => {
        if (event.relatedTarget === null) isDraggedOver.value = false;
      }}
      onDrop={async (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        isDraggedOver.value = false;
        await attach([...(event.dataTransfer?.files ?? [])]);
        focusComposer();
      }}
    >
      <Sidebar />
      {drawerIsOpen.value && (
        <button
          type="button"
          class="shade"
          aria-label="Hide conversations"
          onClick={() => {
            drawerIsOpen.value = false;
          }}
        />
      )}
      <div class="main">
        <Header />
        <Transcript />
        <Composer />
        {isWatched.value && <LivePanel />}
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
      </div>
      <SettingsDialog />
      <KeyDialog />
      <div class="off-screen" role="status" aria-live="polite">
        {announcement.value}
      </div>
      {isDraggedOver.value && <div class="drop">Drop text files to attach them</div>}
    </div>
  );
}

/** The whole page. */

import { useSignal } from "@preact/signals";
import { givesText } from "../api/model.ts";
import { isWatched } from "../api/status.ts";
import { announcement, open } from "../chat/state.ts";
import { sidebarIsOpen } from "../storage/preferences.ts";
import { attach, Composer } from "./composer.tsx";
import { NothingToSend } from "./embedding_server.tsx";
import { Header } from "./header.tsx";
import { KeyDialog } from "./key_dialog.tsx";
import { LivePanel } from "./live_panel.tsx";
import { Notices } from "./notices.tsx";
import { SettingsDialog } from "./settings_dialog.tsx";
import { Sidebar } from "./sidebar.tsx";
import { Transcript } from "./transcript.tsx";
import { drawerIsOpen, focusComposer, openDialogs } from "./windows.ts";

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
        isDraggedOver.value = givesText.value;
      }}
      onDragLeave={(event) => {
        if (event.relatedTarget === null) isDraggedOver.value = false;
      }}
      onDrop={async (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        isDraggedOver.value = false;
        if (!givesText.value) return;
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
        {givesText.value ? <Composer /> : open.value !== undefined && <NothingToSend />}
        {isWatched.value && <LivePanel />}
        {/* A window above the page has them while it is open. */}
        {openDialogs.value === 0 && <Notices />}
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

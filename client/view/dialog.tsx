/** A window above the page, which keeps the keyboard, and shows notices, until it is closed. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { IconButton } from "./icons.tsx";
import { Notices } from "./notices.tsx";
import { openDialogs } from "./windows.ts";

export function Dialog(properties: {
  title: string;
  class?: string;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const { title, onClose, children } = properties;
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    const focused = document.activeElement as HTMLElement | null;
    shown?.showModal();
    openDialogs.value++;
    return () => {
      openDialogs.value--;
      shown?.close();
      focused?.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={`dialog ${properties.class ?? ""}`}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      // A click beside it closes it, as Escape does, for those who can point.
      onMouseDown={(event) => {
        if (event.target === dialog.current) onClose();
      }}
    >
      <div class="dialog-body">
        <header>
          <h2>{title}</h2>
          <IconButton icon="close" label="Close" onClick={onClose} />
        </header>
        {children}
      </div>
      <Notices />
    </dialog>
  );
}

/** A menu of actions that opens below its button. */

import { useEffect, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./icons.tsx";

/** One entry. */
interface Action {
  label: string;
  icon: IconName;
  isDangerous?: boolean;
  run: () => void;
}

/** Pixels between the menu and the edge of the window. */
const MARGIN = 8;

export function Menu({ label, actions }: { label: string; actions: readonly Action[] }) {
  const [isOpen, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (!isOpen || menu.current === null || button.current === null) return;
    // Above everything, whatever clips the button; a click elsewhere closes it.
    menu.current.showPopover();
    const place = button.current.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = menu.current;
    const top = place.bottom + height + MARGIN > innerHeight ? place.top - height : place.bottom;
    menu.current.style.top = `${Math.max(MARGIN, top)}px`;
    menu.current.style.left = `${Math.max(MARGIN, Math.min(place.right - width, innerWidth - width - MARGIN))}px`;
    menu.current.querySelector("button")?.focus();
    // It would stay where its button was. An answer that grows scrolls elsewhere.
    const close = ({ target }: Event) => {
      if ((target as Node).contains(button.current)) setOpen(false);
    };
    addEventListener("scroll", close, true);
    return () => removeEventListener("scroll", close, true);
  }, [isOpen]);

  const onKeyDown = (event: KeyboardEvent) => {
    const items = [...(menu.current?.querySelectorAll("button") ?? [])];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key as "ArrowDown"] as number | undefined;
    if (step !== undefined) {
      event.preventDefault();
      const index = items.indexOf(document.activeElement as HTMLButtonElement);
      items.at((index + step + items.length) % items.length)?.focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      setOpen(false);
      button.current?.focus();
    }
  };

  return (
    <>
      <button
        type="button"
        ref={button}
        class="icon-button"
        aria-label={label}
        title={label}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        onClick={() => setOpen(true)}
      >
        <Icon name="more" />
      </button>
      {isOpen && (
        <div
          ref={menu}
          class="menu"
          role="menu"
          popover="auto"
          aria-label={label}
          tabIndex={-1}
          onKeyDown={onKeyDown}
          onToggle={({ newState }) => {
            if (newState === "closed") setOpen(false);
          }}
        >
          {actions.map(({ label: name, icon, isDangerous, run }) => (
            <button
              key={name}
              type="button"
              role="menuitem"
              class={isDangerous ? "dangerous" : ""}
              onClick={() => {
                // The button has the focus again before anything else may take it.
                menu.current?.hidePopover();
                run();
              }}
            >
              <Icon name={icon} />
              {name}
            </button>
          ))}
        </div>
      )}
    </>
  );
}

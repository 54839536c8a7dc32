/** The page's icons: lines in a square of 24. */

const PATHS = {
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  menu: "M4 7h16M4 12h16M4 17h10",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4",
  settings: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  pin: "M9 4h6l-1 6 3 3H7l3-3-1-6zM12 13v7",
  copy: "M9 9h10v11H9zM5 15V4h10",
  again: "M19 12a7 7 0 1 1-2.05-4.95L19 9M19 4v5h-5",
  edit: "M5 19l1-4L16 5l3 3L9 18l-4 1z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  forward: "M6 6l6 6-6 6M13 6l6 6-6 6",
  left: "M14 7l-5 5 5 5",
  right: "M10 7l5 5-5 5",
  down: "M7 10l5 5 5-5",
  close: "M6 6l12 12M18 6L6 18",
  attach:
    "M19 11l-7.5 7.500a4.5 4.5 0 0 1-6.4-6.400L13 4.300a3 3 0 0 1 4.3 4.300l-7.8 7.700a1.5 1.5 0 0 1-2.1-2.100L14 7.5",
  chart: "M5 20V10M12 20V4M19 20v-7",
  tool: "M9 4c-2 0-3 1-3 3v2c0 1.5-.5 3-2 3 1.5 0 2 1.5 2 3v2c0 2 1 3 3 3M15 4c2 0 3 1 3 3v2c0 1.5.5 3 2 3-1.5 0-2 1.5-2 3v2c0 2-1 3-3 3",
  thought: "M9 18h6M10 21h4M12 3a6 6 0 0 0-3.5 10.900c.6.5 1 1.2 1 2.100h5c0-.9.4-1.6 1-2.100A6 6 0 0 0 12 3z",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  check: "M5 13l4 4L19 7",
  key: "M14 10a4 4 0 1 0-3.5 4L12 13h2v-2h2V9h4V6h-3l-3.5 3.5",
};

export type IconName = keyof typeof PATHS;

/** An icon that says nothing to screen readers; what it stands in has a label. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={name === "stop" ? "icon filled" : "icon"} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** A button that is an icon. */
export function IconButton(properties: {
  icon: IconName;
  label: string;
  onClick: (event: MouseEvent) => void;
  class?: string;
  isDisabled?: boolean;
  isPressed?: boolean;
}) {
  const { icon, label, onClick, isDisabled = false, isPressed } = properties;
  return (
    <button
      type="button"
      class={`icon-button ${properties.class ?? ""}`}
      aria-label={label}
      title={label}
      aria-pressed={isPressed}
      disabled={isDisabled}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}

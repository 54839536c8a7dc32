/** SVG as text. */

type Attributes = Readonly<Record<string, string | number>>;

/** An element with its children, which are elements or text that textOf made. */
export function element(name: string, attributes: Attributes, ...children: string[]): string {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${textOf(numberOf(value))}"`);
  const content = children.join("");
  return content === "" ? `<${name}${written.join("")}/>\n` : `<${name}${written.join("")}>${content}</${name}>\n`;
}

/** Any text, so that it is read as nothing else; what XML cannot hold is left out. */
export function textOf(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what XML cannot hold
      .replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "")
      .toWellFormed()
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
  );
}

/** Tenths of a unit are finer than any screen shows. */
function numberOf(value: string | number): string {
  return typeof value === "string" ? value : String(Math.round(10 * value) / 10);
}

/**
 * Markdown to nodes. HTML in it is shown as the text that it is, but for a few tags that only format; pictures are shown as links,
 * since nothing is loaded from elsewhere; math is left as it is written.
 */

import { Marked, type Token, type TokensList } from "marked";
import { copyButton } from "./code_block.ts";
import { highlight } from "./highlight.ts";
import { sanitize } from "./sanitize.ts";

/** Tags without attributes that people write in Markdown. */
const FORMATTING = /&lt;(\/?(?:b|br|del|details|em|i|ins|kbd|mark|s|small|strong|sub|summary|sup|u)) ?\/?&gt;/gi;

/** $$…$$, \[…\], \(…\), and $…$ that cannot be amounts of money. */
const MATH = /^(?:\$\$[^$]+\$\$|\\\[[\s\S]+?\\\]|\\\([\s\S]+?\\\)|\$(?![\s\d])[^$\n]*[^$\s\\]\$(?!\d))/;

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }) => escapeHtml(text).replaceAll(FORMATTING, "<$1>"),
    image: ({ href, text }) =>
      `<a class="image" href="${escapeHtml(href)}">${escapeHtml(text === "" ? href : text)}</a>`,
  },
  extensions: [
    {
      name: "math",
      level: "inline",
      start: (text) => text.match(/\$|\\[[(]/)?.index,
      tokenizer(text) {
        const raw = MATH.exec(text)?.[0];
        return raw === undefined ? undefined : { type: "math", raw };
      },
      renderer: ({ raw }) => `<span class="math">${escapeHtml(raw)}</span>`,
    },
  ],
});

/** The blocks of a text. Their `raw` joined are the text, if it has no carriage returns. */
export function blocksOf(text: string): TokensList {
  return marked.lexer(text);
}

/** The nodes of blocks. @param isComplete whether they will not grow any more. */
export function renderBlocks(tokens: Token[], isComplete: boolean): DocumentFragment {
  const fragment = sanitize(marked.parser(tokens));
  for (const code of fragment.querySelectorAll("pre > code")) dressCode(code, isComplete);
  // Each paragraph is read in the direction of its own letters.
  for (const node of fragment.querySelectorAll("p, li, h1, h2, h3, h4, h5, h6, td, th, blockquote, summary")) {
    node.setAttribute("dir", "auto");
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "table";
    // It can be scrolled, so it has to be reachable by keyboard.
    frame.tabIndex = 0;
    frame.setAttribute("role", "region");
    frame.setAttribute("aria-label", "Table");
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const box of fragment.querySelectorAll("input")) box.setAttribute("aria-label", "Task");
  return fragment;
}

/** A line with the language and a button to copy above the code; colours in it. */
function dressCode(code: Element, isComplete: boolean): void {
  const pre = code.parentElement as HTMLElement;
  const language = /\blanguage-([\w+#.-]+)/.exec(code.className)?.[1] ?? "";
  const text = code.textContent ?? "";
  const frame = document.createElement("div");
  frame.className = "code";
  const bar = document.createElement("div");
  bar.className = "code-bar";
  const label = document.createElement("span");
  label.textContent = language === "" ? "text" : language;
  bar.append(
    label,
    copyButton(() => (code.textContent ?? "").replace(/\n$/, "")),
  );
  pre.replaceWith(frame);
  pre.tabIndex = 0;
  pre.setAttribute("aria-label", `Code${language === "" ? "" : `, ${language}`}`);
  pre.setAttribute("role", "region");
  pre.dir = "ltr";
  frame.append(bar, pre);
  if (isComplete) highlight(code, language, text);
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

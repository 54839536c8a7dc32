/**
 * Markdown that grows in an element. Blocks that are over stay as they are: only the last ones are read and made again, so a long
 * answer costs no more per token than a short one. What is new fades in.
 */

import type { TokensList } from "marked";
import { blocksOf, renderBlocks } from "./markdown.ts";

/** Blocks at the end that more text may still change: a paragraph may become a heading, a list may go on after a blank line. */
const UNSETTLED = 2;

/** Milliseconds until new text is as dark as all other; page.css has the same. */
const FADE_MS = 320;

interface Block {
  raw: string;
  element: HTMLElement;
  isComplete: boolean;
  /** Where text was added lately, in characters of the block's text, and when. */
  fresh: { from: number; time: number }[];
  length: number;
}

/** A growing text in an element. */
export class StreamedMarkdown {
  readonly #root: HTMLElement;
  readonly #blocks: Block[] = [];
  #text = "";
  /** Characters of the text in settled blocks, and how many these are. */
  #settledLength = 0;
  #settled = 0;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  /** Shows a text. @param isComplete whether it is all of it; nothing fades then. */
  show(given: string, isComplete: boolean): void {
    const text = given.replaceAll(/\r\n?/g, "\n");
    const goesOn = text.startsWith(this.#text) && !isComplete;
    if (!goesOn) this.#settled = this.#settledLength = 0;
    this.#text = text;
    const tokens = blocksOf(text.slice(this.#settledLength));
    const shown = tokens.filter(({ type }) => type !== "space" && type !== "def");
    // A text that is whole from the beginning is made at once, which is sooner than block by block.
    if (isComplete && this.#blocks.length === 0) {
      this.#root.replaceChildren(renderBlocks(tokens, true));
      return;
    }
    if (this.#blocks.length === 0) this.#root.replaceChildren();
    for (const [index, token] of shown.entries()) {
      this.#place(this.#settled + index, token, isComplete || index < shown.length - 1, goesOn);
    }
    for (const { element } of this.#blocks.splice(this.#settled + shown.length)) element.remove();
    if (goesOn) this.#settle(tokens);
  }

  #place(index: number, token: TokensList[number], isComplete: boolean, fades: boolean): void {
    let block = this.#blocks[index];
    if (block?.raw === token.raw && block.isComplete === isComplete) return;
    if (block === undefined) {
      const element = document.createElement("div");
      element.className = "block";
      block = { raw: "", element, isComplete: false, fresh: [], length: 0 };
      this.#blocks.push(block);
      this.#root.append(element);
    }
    block.raw = token.raw;
    block.isComplete = isComplete;
    block.element.replaceChildren(renderBlocks([token], isComplete));
    const length = block.element.textContent?.length ?? 0;
    const now = performance.now();
    if (fades) {
      block.fresh = block.fresh.filter(({ time }) => now - time < FADE_MS);
      if (length > block.length) block.fresh.push({ from: block.length, time: now });
      if (token.type !== "code") fadeIn(block, now);
    }
    block.length = length;
  }

  #settle(tokens: TokensList): void {
    let unsettled = 0;
    let end = tokens.length;
    while (end > 0 && unsettled < UNSETTLED) {
      end--;
      if (tokens[end]?.type !== "space") unsettled++;
    }
    // References to links may be defined in any block.
    for (const { raw, type } of tokens.slice(0, end)) {
      this.#settledLength += raw.length;
      if (type !== "space" && type !== "def") this.#settled++;
    }
  }
}

/** Puts fresh text of a block into spans that fade in from where they were. */
function fadeIn({ element, fresh }: Block, now: number): void {
  if (fresh.length === 0) return;
  const texts: { node: Text; start: number }[] = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let offset = 0;
  for (let node = walker.nextNode() as Text | null; node !== null; node = walker.nextNode() as Text | null) {
    texts.push({ node, start: offset });
    offset += node.length;
  }
  for (const { node, start } of texts) {
    // From the last piece to the first, each of which is cut off the end of the node.
    for (const { from, time } of fresh.toReversed()) {
      if (start + node.length <= from) continue;
      const fading = from > start ? node.splitText(from - start) : node;
      const span = document.createElement("span");
      span.className = "fresh";
      span.style.animationDelay = `${time - now}ms`;
      fading.replaceWith(span);
      span.append(fading);
      if (from <= start) break;
    }
  }
}

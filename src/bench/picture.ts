/** A page of charts as an SVG that can be read alone: it says what was measured, where and when, and is light or dark as its reader is. */

import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { describeSystemError, Failure } from "../errors.ts";
import { wrapped } from "../options/help.ts";
import { plural } from "../terminal/plural.ts";
import { version } from "../version.ts";
import { writeWholeFile } from "../whole_file.ts";
import { type Chart, drawChart } from "./chart.ts";
import { textWidth } from "./labels.ts";
import type { Machine } from "./machine.ts";
import type { ReportWriter } from "./report.ts";
import { element, textOf } from "./svg.ts";

/** A picture before it is drawn. */
export interface Picture {
  title: string;
  /** Lines below the title. */
  lines: string[];
  /** Two stand beside each other. */
  charts: Chart[];
  /** Lines below the charts. */
  notes: string[];
}

/** Draws results into a file when there are no more. */
export class PictureWriter<Result> implements ReportWriter<Result> {
  readonly #path: string;
  readonly #machine: Machine;
  readonly #compose: (results: Result[]) => Picture;
  readonly #results: Result[] = [];

  /**
   * @param path of the file, which is replaced.
   * @param compose makes a picture of results, of which there is one at least.
   * @throws Failure when it can't be written to: a bench takes minutes.
   */
  constructor(path: string, machine: Machine, compose: (results: Result[]) => Picture) {
    this.#path = path;
    this.#machine = machine;
    this.#compose = compose;
    try {
      accessSync(existsSync(path) ? path : dirname(resolve(path)), constants.W_OK);
      if (existsSync(path) && statSync(path).isDirectory()) throw new Failure(`${path}: is a directory`);
    } catch (error) {
      throw error instanceof Failure ? error : new Failure(`${path}: ${describeSystemError(error)}`);
    }
  }

  addLimits(): void {}

  add(result: Result): void {
    this.#results.push(result);
  }

  end(isComplete: boolean): void {
    if (this.#results.length === 0) return;
    const picture = this.#compose(this.#results);
    const { cpu, cores, tierDescription } = this.#machine;
    const day = new Date().toISOString().slice(0, 10);
    const interrupted = isComplete ? "" : ", interrupted before all was measured";
    const lines = [
      `${cpu}, ${plural(cores, "core")}, ${tierDescription} kernels`,
      ...picture.lines,
      `${day}, wrinklefree ${version}${interrupted}`,
    ];
    try {
      writeWholeFile(this.#path, drawPicture({ ...picture, lines }));
    } catch (error) {
      throw new Failure(`${this.#path}: ${describeSystemError(error)}`);
    }
  }
}

/** Colours of the series: light, dark. All have a contrast of 4.5 or more with the background. */
const COLOURS = [
  ["#0b62c4", "#6cb2ff"],
  ["#b4430a", "#ff9d5c"],
  ["#15763a", "#5fd38d"],
  ["#8a35c9", "#cf9dff"],
  ["#b5174b", "#ff8fa8"],
  ["#0b7285", "#4fd0e0"],
  ["#7a5c00", "#e6c34a"],
  ["#4a5560", "#aab6c2"],
] as const;

const LIGHT = 0;
const DARK = 1;

/** What a picture looks like. Fonts are those of the reader's system. */
function styleSheet(): string {
  const theme = (index: 0 | 1, [background, text, muted, grid]: [string, string, string, string]) =>
    [
      `.page{fill:${background}}text{fill:${text}}.tick,.label,.name,.note,.series.plain{fill:${muted}}.label,.along{stroke:${background}}`,
      `.grid{stroke:${grid}}.axis,.bound,.leader.plain{stroke:${muted}}.point{stroke:${background}}`,
      ...COLOURS.map(
        (pair, at) =>
          `.point.c${at},.series.c${at}{fill:${pair[index]}}.line.c${at},.range.c${at},.leader.c${at}{stroke:${pair[index]}}`,
      ),
    ].join("");
  return [
    "text{font-family:system-ui,-apple-system,'Segoe UI','Helvetica Neue',Arial,sans-serif;font-size:13px}",
    ".heading{font-size:20px;font-weight:600}.title{font-size:15px;font-weight:600}.series{font-weight:600}",
    ".tick{font-size:12px}.label{font-size:11px}.label,.along{paint-order:stroke;stroke-width:3px;stroke-linejoin:round}.middle{text-anchor:middle}.end{text-anchor:end}",
    ".line,.leader,.bound,.range{fill:none}.line{stroke-width:2}.range{stroke-width:1.5;opacity:.6}.point{stroke-width:1.5}",
    ".leader{stroke-width:1;opacity:.5}.bound{stroke-width:1.5;stroke-dasharray:6 4}.grid{stroke-width:1}",
    theme(LIGHT, ["#ffffff", "#1b2127", "#59636e", "#e4e8ec"]),
    `@media (prefers-color-scheme:dark){${theme(DARK, ["#12161b", "#e8edf2", "#9aa6b2", "#2a313a"])}}`,
  ].join("");
}

const MARGIN = 28;
const LINE_HEIGHT = 19;
const NOTE_SIZE = 13;

function drawPicture({ title, lines, charts, notes: sentences }: Picture): string {
  const drawings = charts.map(drawChart);
  const columns = Math.min(2, drawings.length);
  const columnWidth = Math.max(...drawings.map(({ width }) => width));
  const rowHeight = Math.max(...drawings.map(({ height }) => height)) + MARGIN;
  const width = 2 * MARGIN + columns * columnWidth + (columns - 1) * MARGIN;
  // A picture with one chart is narrow.
  const widthOf = (line: string) => textWidth(line, NOTE_SIZE);
  const notes = sentences.flatMap((sentence) => wrapped(sentence, width - 2 * MARGIN, widthOf));
  const chartsTop = MARGIN + 32 + lines.length * LINE_HEIGHT + 12;
  const notesTop = chartsTop + Math.ceil(drawings.length / columns) * rowHeight;
  const height = notesTop + notes.length * LINE_HEIGHT + MARGIN / 2;
  const placed = drawings.map(({ svg }, index) => {
    const left = MARGIN + (index % columns) * (columnWidth + MARGIN);
    const top = chartsTop + Math.floor(index / columns) * rowHeight;
    return element("g", { class: "chart", transform: `translate(${left} ${top})` }, "\n", svg);
  });
  return element(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`,
      width: Math.ceil(width),
      height: Math.ceil(height),
      role: "img",
      "aria-labelledby": "heading",
    },
    "\n",
    element("style", {}, styleSheet()),
    element("rect", { width: "100%", height: "100%", class: "page" }),
    element("text", { x: MARGIN, y: MARGIN + 16, class: "heading", id: "heading" }, textOf(title)),
    ...lines.map((line, index) => textLine(line, MARGIN + 40 + index * LINE_HEIGHT)),
    ...placed,
    ...notes.map((line, index) => textLine(line, notesTop + index * LINE_HEIGHT)),
  );
}

function textLine(line: string, y: number): string {
  return element("text", { x: MARGIN, y, class: "note" }, textOf(line));
}

/** A chart: points in series with their names at the right, and lines for what bounds them. */

import { type Box, Room, spread, textWidth } from "./labels.ts";
import type { Scale } from "./scale.ts";
import { element, textOf } from "./svg.ts";

/** What was measured. */
export interface Point {
  x: number;
  y: number;
  /** The least and the most of several measurements. */
  range?: readonly [number, number];
  /** What stands beside it, where there is room. */
  label: string;
  /** All that is known of it, in words: a browser shows it when the point is pointed at. */
  description: string;
}

/** Points that belong together. */
export interface Series {
  name: string;
  points: Point[];
}

/** A bound, as a line from point to point. */
export interface Bound {
  name: string;
  line: readonly (readonly [x: number, y: number])[];
  /** Whether its name stands along its first part; otherwise at the right. */
  isNamedAlong: boolean;
}

/** An axis with what it says: the quantity and its unit. */
export interface Axis {
  name: string;
  scale: Scale;
}

/** A chart before it is drawn. */
export interface Chart {
  title: string;
  x: Axis;
  y: Axis;
  series: Series[];
  bounds: Bound[];
}

/** What is drawn, and its size. */
export interface Drawing {
  width: number;
  height: number;
  svg: string;
}

/** Sizes of texts. */
const NAME_SIZE = 13;
const TICK_SIZE = 12;
const LABEL_SIZE = 11;

/** The plot, without what stands at its left. */
const PLOT = { top: 40, width: 330, height: 300 };
const HEIGHT = PLOT.top + PLOT.height + 52;

/** Room between the plot's edges and the first and last value of an axis. */
const PADDING = { across: 20, down: 18 };

/** Colours that picture.ts has, as classes c0, c1, …. */
export const COLOURS = 8;

/** Draws a chart, its upper left corner at 0, 0. */
export function drawChart(chart: Chart): Drawing {
  const drawing = new ChartDrawing(chart);
  return { width: drawing.width, height: HEIGHT, svg: drawing.draw() };
}

class ChartDrawing {
  readonly #chart: Chart;
  readonly #plot: Box;
  readonly #room: Room;
  readonly width: number;

  constructor(chart: Chart) {
    this.#chart = chart;
    const { top, width, height } = PLOT;
    const left = 30 + Math.max(...chart.y.scale.ticks.map((tick) => textWidth(short(tick), TICK_SIZE)));
    this.#plot = { left, top, right: left + width, bottom: top + height };
    this.#room = new Room({ ...this.#plot, right: this.#plot.right + 26 });
    const names = [...chart.series, ...chart.bounds.filter((bound) => !bound.isNamedAlong)].map(({ name }) => name);
    this.width = this.#plot.right + 34 + Math.max(60, ...names.map((name) => textWidth(name, NAME_SIZE)));
  }

  draw(): string {
    const { title, series, bounds } = this.#chart;
    const points = series.flatMap((one) => one.points);
    for (const point of points) this.#room.take(around(this.#x(point.x), this.#y(point.y), 5));
    return [
      element("text", { x: this.#plot.left, y: 20, class: "title" }, textOf(title)),
      this.#axes(),
      ...bounds.map((bound) => this.#bound(bound)),
      ...series.map((one, index) => this.#line(one, index)),
      ...series.map((one, index) => this.#points(one, index)),
      ...points.map((point) => this.#label(point)),
      this.#names(),
    ].join("");
  }

  #x(value: number): number {
    return (
      this.#plot.left +
      PADDING.across +
      this.#chart.x.scale.at(value) * (this.#plot.right - this.#plot.left - 2 * PADDING.across)
    );
  }

  #y(value: number): number {
    return this.#plot.bottom - this.#chart.y.scale.at(value) * (this.#plot.bottom - this.#plot.top - PADDING.down);
  }

  #axes(): string {
    const { x, y } = this.#chart;
    const { left, top, right, bottom } = this.#plot;
    const parts: string[] = [];
    for (const tick of y.scale.ticks) {
      const at = this.#y(tick);
      parts.push(element("line", { x1: left, x2: right, y1: at, y2: at, class: "grid" }));
      parts.push(element("text", { x: left - 8, y: at + 4, class: "tick end" }, textOf(short(tick))));
    }
    let free = -Infinity;
    for (const tick of x.scale.ticks) {
      const [at, text] = [this.#x(tick), short(tick)];
      const half = textWidth(text, TICK_SIZE) / 2;
      parts.push(element("line", { x1: at, x2: at, y1: bottom, y2: bottom + 5, class: "axis" }));
      if (at - half < free) continue;
      parts.push(element("text", { x: at, y: bottom + 19, class: "tick middle" }, textOf(text)));
      free = at + half + 4;
    }
    const middle = (top + bottom) / 2;
    parts.push(
      element("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "axis" }),
      element("text", { x: (left + right) / 2, y: bottom + 41, class: "name middle" }, textOf(x.name)),
      element(
        "text",
        { x: 14, y: middle, class: "name middle", transform: `rotate(-90 14 ${middle})` },
        textOf(y.name),
      ),
    );
    return parts.join("");
  }

  #bound({ name, line, isNamedAlong }: Bound): string {
    const places = line.map(([x, y]) => [this.#x(x), this.#y(y)] as const);
    const drawn = element("polyline", { points: path(places), class: "bound" });
    const [first, second] = places;
    if (!isNamedAlong || first === undefined || second === undefined) return drawn;
    // Above the line, up to its upper end.
    const angle = (Math.atan2(second[1] - first[1], second[0] - first[0]) * 180) / Math.PI;
    const transform = `translate(${second[0].toFixed(1)} ${second[1].toFixed(1)}) rotate(${angle.toFixed(1)})`;
    return drawn + element("text", { x: -10, y: -7, class: "name along end", transform }, textOf(name));
  }

  #line({ points }: Series, index: number): string {
    if (points.length < 2) return "";
    const places = points.map(({ x, y }) => [this.#x(x), this.#y(y)] as const);
    return element("polyline", { points: path(places), class: `line ${colour(index)}` });
  }

  #points({ points }: Series, index: number): string {
    return points
      .map((point) => {
        const [x, y] = [this.#x(point.x), this.#y(point.y)];
        const [least, most] = (point.range ?? [point.y, point.y]).map((value) => this.#y(value)) as [number, number];
        const range = { x1: x, x2: x, y1: least, y2: most, class: `range ${colour(index)}` };
        const title = element("title", {}, textOf(point.description)).trimEnd();
        return (
          (least - most > 1 ? element("line", range) : "") +
          element("circle", { cx: x, cy: y, r: 4, class: `point ${colour(index)}` }, title)
        );
      })
      .join("");
  }

  #label({ x, y, label }: Point): string {
    const place = this.#room.beside(this.#x(x), this.#y(y), label, LABEL_SIZE);
    if (place === undefined) return "";
    return element("text", { x: place.x, y: place.y, class: `label ${place.anchor}` }, textOf(label));
  }

  /** The names of series and bounds at the right, each with a line to where it ends. */
  #names(): string {
    const ends: { name: string; class: string; x: number; y: number }[] = [];
    for (const [index, { name, points }] of this.#chart.series.entries()) {
      const last = points.at(-1);
      if (last !== undefined) ends.push({ name, class: colour(index), x: this.#x(last.x), y: this.#y(last.y) });
    }
    for (const { name, line, isNamedAlong } of this.#chart.bounds) {
      const last = line.at(-1);
      if (last !== undefined && !isNamedAlong)
        ends.push({ name, class: "plain", x: this.#x(last[0]), y: this.#y(last[1]) });
    }
    const heights = spread(
      ends.map(({ y }) => y),
      NAME_SIZE + 4,
      this.#plot.top,
      this.#plot.bottom,
    );
    const left = this.#plot.right + 30;
    return ends
      .map((end, index) => {
        const height = heights[index] as number;
        const leader = path([
          [end.x + 6, end.y],
          [this.#plot.right + 8, end.y],
          [left - 4, height],
        ]);
        return (
          element("polyline", { points: leader, class: `leader ${end.class}` }) +
          element("text", { x: left, y: height + 4, class: `series ${end.class}` }, textOf(end.name))
        );
      })
      .join("");
  }
}

function around(x: number, y: number, radius: number): Box {
  return { left: x - radius, right: x + radius, top: y - radius, bottom: y + radius };
}

function colour(index: number): string {
  return `c${index % COLOURS}`;
}

function path(places: readonly (readonly [number, number])[]): string {
  return places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
}

/** A number as people write it: no more digits than matter in a picture. */
export function short(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

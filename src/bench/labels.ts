/** Finds places for a chart's labels, so that none lies on another. */

/** A rectangle. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Width of a text at most, in a font of this size: fonts differ, and digits are as wide as most letters. */
export function textWidth(text: string, size: number): number {
  return 0.6 * size * text.length;
}

/** Where the text of a label begins or ends. */
export interface Place {
  x: number;
  /** Of the line that it stands on. */
  y: number;
  anchor: "start" | "middle" | "end";
}

/** Places that are taken. */
export class Room {
  readonly #bounds: Box;
  readonly #taken: Box[] = [];

  /** @param bounds within which labels stay. */
  constructor(bounds: Box) {
    this.#bounds = bounds;
  }

  /** Keeps labels off a place. */
  take(box: Box): void {
    this.#taken.push(box);
  }

  /** A place beside a point for a text in a font of this size; undefined where there is none. It is taken from then on. */
  beside(x: number, y: number, text: string, size: number): Place | undefined {
    const gap = 8;
    const places: Place[] = [
      { x, y: y - gap, anchor: "middle" },
      { x, y: y + gap + 0.75 * size, anchor: "middle" },
      { x: x + gap, y: y + 0.35 * size, anchor: "start" },
      { x: x - gap, y: y + 0.35 * size, anchor: "end" },
      { x: x + gap - 2, y: y - gap + 2, anchor: "start" },
      { x: x - gap + 2, y: y - gap + 2, anchor: "end" },
    ];
    const width = textWidth(text, size);
    for (const place of places) {
      const left = place.x - { start: 0, middle: width / 2, end: width }[place.anchor];
      const box = { left, right: left + width, top: place.y - 0.8 * size, bottom: place.y + 0.2 * size };
      if (!this.#isFree(box)) continue;
      this.take(box);
      return place;
    }
    return undefined;
  }

  #isFree(box: Box): boolean {
    const { left, top, right, bottom } = this.#bounds;
    const isWithin = box.left >= left && box.right <= right && box.top >= top && box.bottom <= bottom;
    return isWithin && !this.#taken.some((other) => overlap(box, other));
  }
}

function overlap(one: Box, other: Box): boolean {
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
}

/**
 * Heights for labels in a column, each as near as can be to the one that it wishes for.
 *
 * @param wishes in any order.
 * @param apart how far two are apart at least.
 * @param top,bottom within which they stay, if there is room for all.
 * @returns heights in the order of the wishes.
 */
export function spread(wishes: readonly number[], apart: number, top: number, bottom: number): number[] {
  const order = wishes.map((_, index) => index).sort((a, b) => (wishes[a] as number) - (wishes[b] as number));
  const heights = [...wishes];
  let least = top;
  for (const index of order) {
    heights[index] = Math.max(heights[index] as number, least);
    least = (heights[index] as number) + apart;
  }
  let most = bottom;
  for (const index of order.reverse()) {
    if ((heights[index] as number) <= most) break;
    heights[index] = most;
    most -= apart;
  }
  return heights;
}

/**
 * Neurons of a layer's FFN that are always zero, because their row of the gate or of the up projection is, are left out of the packed file.
 * No bit of any answer changes by that:
 *   - A zero adds nothing to the sub-norm's sum of squares, whose mean stays that of all neurons. The sum runs in 32 lanes, element e in lane
 *     e % 32, one after the other; so neurons that stay keep their lane and their order in it. Lanes that become shorter than the longest one
 *     end with neurons of zeros, which add nothing either.
 *   - A zero is no largest magnitude, so inputs of the down projection are rounded as before; and sums of integers have no order.
 */

/** Lanes in which sums over a row run: WF_LANES of the kernels. */
const LANES = 32;

/** The code of four zeros in a packed row. */
const ZEROS = 0x55;

/** The neurons that a layer keeps: the number of each in the source, or −1 for one of zeros. */
export type KeptNeurons = Int32Array;

/**
 * Chooses the neurons to keep.
 *
 * @param gate the packed rows of the gate projection, one for each neuron
 * @param up those of the up projection
 * @returns null when all have to stay
 */
export function neuronsToKeep(gate: Uint8Array, up: Uint8Array, count: number): KeptNeurons | null {
  const used = Array.from(
    { length: count },
    (_, neuron) => !isZeroRow(gate, neuron, count) && !isZeroRow(up, neuron, count),
  );
  return placeNeurons(used);
}

/** Gives the used neurons their places. */
export function placeNeurons(used: readonly boolean[]): KeptNeurons | null {
  const lengths = new Array<number>(LANES).fill(0);
  const places = used.map((isUsed, neuron) => {
    if (!isUsed) return -1;
    const lane = neuron % LANES;
    const before = lengths[lane] as number;
    lengths[lane] = before + 1;
    return LANES * before + lane;
  });
  const count = LANES * Math.max(1, ...lengths);
  if (count >= used.length) return null;
  const kept = new Int32Array(count).fill(-1);
  for (const [neuron, place] of places.entries()) if (place >= 0) kept[place] = neuron;
  return kept;
}

function isZeroRow(packed: Uint8Array, row: number, rows: number): boolean {
  const rowBytes = packed.length / rows;
  for (let at = row * rowBytes; at < (row + 1) * rowBytes; at++) if (packed[at] !== ZEROS) return false;
  return true;
}

/** The rows of packed projections into the neurons that are kept. */
export function keepRows(packed: Uint8Array, rows: number, kept: KeptNeurons): Uint8Array {
  const rowBytes = packed.length / rows;
  const chosen = new Uint8Array(kept.length * rowBytes).fill(ZEROS);
  for (const [place, neuron] of kept.entries()) {
    if (neuron >= 0) chosen.set(packed.subarray(neuron * rowBytes, (neuron + 1) * rowBytes), place * rowBytes);
  }
  return chosen;
}

/** The weights of a norm over the neurons that are kept. */
export function keepValues(values: Float32Array, kept: KeptNeurons): Float32Array {
  return Float32Array.from(kept, (neuron) => (neuron < 0 ? 0 : (values[neuron] as number)));
}

/**
 * The columns of packed rows that belong to neurons that are kept.
 *
 * @param packed rows of whole blocks of 128 columns
 */
export function keepColumns(packed: Uint8Array, rows: number, kept: KeptNeurons): Uint8Array {
  const rowBytes = packed.length / rows;
  const chosenBytes = 32 * Math.ceil(kept.length / 128);
  const chosen = new Uint8Array(rows * chosenBytes);
  // Where each code stands in a row, and where it goes.
  const columns = Array.from({ length: 4 * chosenBytes }, (_, place) => ({
    from: byteOf(kept[place] ?? -1),
    fromShift: shiftOf(kept[place] ?? -1),
    to: byteOf(place),
    toShift: shiftOf(place),
  }));
  for (let row = 0; row < rows; row++) {
    const [begin, chosenBegin] = [row * rowBytes, row * chosenBytes];
    for (const { from, fromShift, to, toShift } of columns) {
      const code = from < 0 ? 1 : ((packed[begin + from] as number) >> fromShift) & 3;
      chosen[chosenBegin + to] = (chosen[chosenBegin + to] as number) | (code << toShift);
    }
  }
  return chosen;
}

function byteOf(column: number): number {
  return column < 0 ? -1 : 32 * Math.floor(column / 128) + (column % 32);
}

function shiftOf(column: number): number {
  return 2 * (Math.floor(column / 32) % 4);
}

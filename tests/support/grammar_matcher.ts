/** Whether a text is of a compiled grammar, and texts that are: read straight from its words (csrc/grammar/grammar.h), without an automaton. */

interface Node {
  isFinal: boolean;
  edges: { kind: number; argument: number; next: number }[];
}

interface Call {
  rule: number;
  least: number;
  most: number;
}

/** A grammar that texts can be held against. */
export class GrammarMatcher {
  readonly #rules: number[];
  readonly #nodes: Node[];
  readonly #calls: Call[];

  constructor(blob: Uint8Array) {
    const words = new Uint32Array(blob.buffer, blob.byteOffset, blob.length / 4);
    const [, ruleCount = 0, nodeCount = 0, edgeCount = 0, callCount = 0] = words;
    let at = 5;
    const take = (count: number) => {
      at += count;
      return [...words.subarray(at - count, at)];
    };
    this.#rules = take(ruleCount);
    const nodes = take(nodeCount);
    const edges = take(edgeCount * 2);
    const calls = take(callCount * 3);
    const firstEdge = (node: number) => (node < nodeCount ? (nodes[node] as number) & 0x7fffffff : edgeCount);
    this.#nodes = nodes.map((word, node) => ({
      isFinal: word >= 0x80000000,
      edges: Array.from({ length: firstEdge(node + 1) - firstEdge(node) }, (_, i) => {
        const edge = firstEdge(node) + i;
        const word = edges[edge * 2] as number;
        return { kind: word & 0xff, argument: word >>> 8, next: edges[edge * 2 + 1] as number };
      }),
    }));
    this.#calls = Array.from({ length: callCount }, (_, i) => {
      const [rule = 0, least = 0, most = 0] = calls.slice(i * 3, i * 3 + 3);
      return { rule, least, most: most === 0xffffffff ? Number.POSITIVE_INFINITY : most };
    });
  }

  /** Whether the whole text is of the grammar. */
  matches(text: string): boolean {
    const bytes = Buffer.from(text);
    const known = new Map<string, Set<number>>();
    const endsOf = (rule: number, begin: number): Set<number> => {
      const key = `${rule} ${begin}`;
      const before = known.get(key);
      if (before !== undefined) return before;
      const ends = new Set<number>();
      known.set(key, ends);
      const seen = new Set<string>();
      const pending: [number, number][] = [];
      const visit = (node: number, position: number) => {
        const place = `${node} ${position}`;
        if (seen.has(place)) return;
        seen.add(place);
        pending.push([node, position]);
      };
      visit(this.#rules[rule] as number, begin);
      for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
        const [index, position] = next;
        const node = this.#nodes[index] as Node;
        if (node.isFinal) ends.add(position);
        for (const edge of node.edges) {
          if (edge.kind === 1) visit(edge.next, position);
          else if (edge.kind === 0) {
            const byte = bytes[position];
            if (byte === undefined || byte < (edge.argument & 0xff) || byte > edge.argument >> 8) continue;
            visit(edge.next, position + 1);
          } else this.#repeat(edge.argument, position, endsOf, (end) => visit(edge.next, end));
        }
      }
      return ends;
    };
    return endsOf(0, 0).has(bytes.length);
  }

  /**
   * A text of the grammar.
   *
   * @param random gives numbers from 0 up to 1.
   * @param length bytes after which the text comes to its end as soon as it can.
   */
  sample(random: () => number, length: number): string {
    this.#distances ??= this.#distancesToEnd();
    const distances = this.#distances;
    const bytes: number[] = [];
    const walk = (rule: number) => {
      let index = this.#rules[rule] as number;
      while (true) {
        const { isFinal, edges } = this.#nodes[index] as Node;
        const isLong = bytes.length >= length;
        if (isFinal && (isLong || edges.length === 0 || random() < 0.3)) return;
        const ways = isLong
          ? edges.filter((edge) => this.#distance(edge, distances) === distances[index])
          : edges.filter((edge) => Number.isFinite(this.#distance(edge, distances)));
        const edge = ways[Math.floor(random() * ways.length)];
        if (edge === undefined) {
          if (isFinal) return;
          throw new Error("no way to the end");
        }
        index = edge.next;
        if (edge.kind === 0) {
          const [low, high] = [edge.argument & 0xff, edge.argument >> 8];
          bytes.push(low + Math.floor(random() * (high - low + 1)));
        } else if (edge.kind === 2) {
          const { rule: called, least, most } = this.#calls[edge.argument] as Call;
          for (let count = 0; count < most; count++) {
            if (count >= least && (bytes.length >= length || random() < 0.4)) break;
            walk(called);
          }
        }
      }
    };
    walk(0);
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
  }

  #distances: number[] | undefined;

  /** How many bytes there are at least from each node to the end of its rule. */
  #distancesToEnd(): number[] {
    const distances = this.#nodes.map(({ isFinal }) => (isFinal ? 0 : Number.POSITIVE_INFINITY));
    for (let isDone = false; !isDone; ) {
      isDone = true;
      for (let index = distances.length - 1; index >= 0; index--) {
        for (const edge of (this.#nodes[index] as Node).edges) {
          const distance = this.#distance(edge, distances);
          if (distance >= (distances[index] as number)) continue;
          distances[index] = distance;
          isDone = false;
        }
      }
    }
    return distances;
  }

  #distance({ kind, argument, next }: Node["edges"][number], distances: readonly number[]): number {
    const rest = distances[next] as number;
    if (kind !== 2) return rest + Number(kind === 0);
    const { rule, least } = this.#calls[argument] as Call;
    return least === 0 ? rest : rest + least * (distances[this.#rules[rule] as number] as number);
  }

  #repeat(
    call: number,
    begin: number,
    endsOf: (rule: number, begin: number) => Set<number>,
    reach: (end: number) => void,
  ): void {
    const { rule, least, most } = this.#calls[call] as Call;
    let positions = new Set([begin]);
    const reached = new Set<number>();
    for (let count = 0; positions.size > 0 && count <= most; count++) {
      if (count >= least) {
        const fresh = [...positions].filter((position) => !reached.has(position));
        if (fresh.length === 0) return;
        for (const position of fresh) {
          reached.add(position);
          reach(position);
        }
      }
      positions = new Set([...positions].flatMap((position) => [...endsOf(rule, position)]));
    }
  }
}

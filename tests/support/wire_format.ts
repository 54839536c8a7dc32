/** Protobuf's wire format, as far as one needs no schema for it: the fields of a message by their numbers. */

/** A field of a message. */
export interface WireField {
  number: number;
  /** Of a varint. */
  integer: bigint;
  /** Of a text, a message, or a number of fixed size. */
  bytes: Uint8Array;
}

/** The fields of a message in their order. @throws Error for what is none. */
export function readWire(bytes: Uint8Array): WireField[] {
  const fields: WireField[] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("a message of protobuf ends too early");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Number(tag >> 3n);
    const type = Number(tag & 7n);
    if (type === 0) {
      fields.push({ number, integer: varint(), bytes: new Uint8Array() });
      continue;
    }
    const length = type === 1 ? 8 : type === 5 ? 4 : type === 2 ? Number(varint()) : Number.NaN;
    if (!(at + length <= bytes.length)) throw new Error(`a field of protobuf has the type ${type}, or is cut off`);
    fields.push({ number, integer: 0n, bytes: bytes.subarray(at, at + length) });
    at += length;
  }
  return fields;
}

/** The text of a field; none for a field that is not there. */
export function textOf(field: WireField | undefined): string {
  return new TextDecoder().decode(field?.bytes);
}

const halfToNumber = (bits: number): number => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
};

const fromHalf = (bytes: Uint8Array<ArrayBuffer>) =>
  Float32Array.from(new Uint16Array(bytes.buffer), halfToNumber);

/** A bfloat16 is the upper half of a float32. */
const fromBfloat = (bytes: Uint8Array<ArrayBuffer>) =>
  new Float32Array(Uint32Array.from(new Uint16Array(bytes.buffer), (bits) => bits << 16).buffer);

/**
 * To float32 from each dtype that a weight may have. The bytes are little-endian, as x64 is, and begin at the
 * start of their buffer.
 */
export const TO_FLOAT32: Readonly<Record<string, (bytes: Uint8Array<ArrayBuffer>) => Float32Array>> = {
  F64: (bytes) => new Float32Array(new Float64Array(bytes.buffer)),
  F32: (bytes) => new Float32Array(bytes.buffer),
  F16: fromHalf,
  BF16: fromBfloat,
};

export const isFloat = (dtype: string): boolean => Object.hasOwn(TO_FLOAT32, dtype);

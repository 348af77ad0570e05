/**
 * Where each code point of a text begins, and where the last one ends, in UTF-16 code units: [code points + 1]. Python
 * and the tokenizers count the former, JavaScript the latter.
 */
export const utf16Offsets = (text: string): Int32Array => {
  const offsets = new Int32Array(text.length + 1);
  let count = 0;
  for (const point of text) offsets[count + 1] = offsets[count++]! + point.length;
  return offsets.subarray(0, count + 1);
};

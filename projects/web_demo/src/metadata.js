/** Read the `metadata_props` of an ONNX file, without a protobuf library. */

const KEY = 'lpn_mmpose';
const FORMAT = 1;
const METADATA_PROPS = 14; // field of ModelProto; its entries: 1 key, 2 value

/** Yield [field number, bytes] of the length-delimited fields of a message. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    for (let value = 0, unit = 1; ; unit *= 128) {
      const byte = bytes[at++];
      if (byte === undefined || unit > 2 ** 63) throw new Error('no protobuf');
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const end = varint() + at;
      if (end > bytes.length) throw new Error('no protobuf');
      yield [field, bytes.subarray(at, end)];
      at = end;
    } else throw new Error('no protobuf');
  }
}

/**
 * Return what an exported model says about itself.
 *
 * @param {Uint8Array} bytes the ONNX file
 * @returns {?object} see `lpn_mmpose/runtime/model_meta.py`; null without metadata
 * @throws {Error} if it is no ONNX file, or of a format that is not known here
 */
export function readMetadata(bytes) {
  const text = (part) => new TextDecoder().decode(part);
  try {
    for (const [field, entry] of fields(bytes)) {
      if (field !== METADATA_PROPS) continue;
      const pair = new Map(fields(entry));
      if (text(pair.get(1)) !== KEY) continue;
      const meta = JSON.parse(text(pair.get(2)));
      if (meta.format > FORMAT) {
        throw new RangeError(`its metadata have format ${meta.format}; this ` +
          `page reads up to ${FORMAT}: build a newer page`);
      }
      return meta;
    }
  } catch (error) {
    if (error instanceof RangeError) throw error;
    throw new Error('it is not an ONNX file, or it is damaged');
  }
  return null;
}

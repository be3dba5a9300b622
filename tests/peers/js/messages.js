// google.protobuf.BytesValue: one field of bytes.

'use strict';

function wrapped(bytes) {
  if (!bytes.length) return Buffer.alloc(0);
  const prefix = [0x0a];
  let size = bytes.length;
  for (; size > 0x7f; size >>>= 7) prefix.push((size & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([...prefix, size]), bytes]);
}

function unwrapped(message) {
  let begin = 1;
  while (message[begin] > 0x7f) begin += 1;
  return message.subarray(begin + 1);
}

module.exports = { wrapped, unwrapped };

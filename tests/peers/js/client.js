// A grpc-js client of /wire.Shapes, or of whatever stands in front of it.
// Arguments: the server's address, and a JSON object with the channel's options and the sizes to send.
// Prints what tests/peers/grpcio_wire.py prints: JSON, by which a test knows that all came back.

'use strict';

const assert = require('node:assert');
const grpc = require('@grpc/grpc-js');
const { wrapped } = require('./messages');

const [target, argument] = process.argv.slice(2);
const { options, sizes } = JSON.parse(argument);
const UNLIMITED = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };
const client = new grpc.Client(target, grpc.credentials.createInsecure(), { ...UNLIMITED, ...options });
const same = (bytes) => bytes;
const path = (method) => `/wire.Shapes/${method}`;

function unary(method, message, metadata = new grpc.Metadata(), callOptions = {}) {
  return new Promise((resolve, reject) => {
    const seen = {};
    // The status comes after the answer.
    const call = client.makeUnaryRequest(
      path(method), same, same, message, metadata, callOptions,
      (error, answer) => (error ? reject(error) : Object.assign(seen, { answer })));
    call.on('metadata', (initial) => { seen.initial = initial; });
    call.on('status', (status) => resolve({ ...seen, trailing: status.metadata }));
  });
}

async function code(promise) {
  try {
    await promise;
  } catch (error) {
    return grpc.status[error.code];
  }
  return 'OK';
}

async function checkSizes() {
  for (const size of sizes) {
    const message = wrapped(Buffer.alloc(size, 'abc'));
    assert((await unary('UnaryUnary', message)).answer.equals(message), `${size} bytes`);
  }
  return sizes.length;
}

async function checkMany() {
  const messages = Array.from({ length: 200 }, (_, i) => wrapped(Buffer.from(String(i))));
  const answers = await Promise.all(messages.map((message) => unary('UnaryUnary', message)));
  return answers.filter(({ answer }, i) => answer.equals(messages[i])).length;
}

async function checkServerStream() {
  const message = wrapped(Buffer.alloc(5000, 'a'));
  let count = 0;
  for await (const answer of client.makeServerStreamRequest(path('UnaryStream'), same, same, message)) {
    assert(answer.equals(message));
    count += 1;
  }
  return count;
}

function checkClientStream() {
  return new Promise((resolve, reject) => {
    const call = client.makeClientStreamRequest(path('StreamUnary'), same, same, (error, answer) => {
      if (error) return reject(error);
      assert(answer.equals(wrapped(Buffer.alloc(50 * 1000, 'a'))));
      return resolve(50);
    });
    for (let i = 0; i < 50; i += 1) call.write(wrapped(Buffer.alloc(1000, 'a')));
    call.end();
  });
}

async function checkChat() {
  const call = client.makeBidiStreamRequest(path('StreamStream'), same, same);
  call.write(wrapped(Buffer.alloc(0)));
  let count = 0;
  for await (const answer of call) {
    assert(answer.equals(wrapped(Buffer.alloc(count * 100, 'a'))));
    count += 1;
    if (count === 50) call.end();
    else call.write(wrapped(Buffer.alloc(count * 100, 'a')));
  }
  return count;
}

async function checkMetadata() {
  const metadata = new grpc.Metadata();
  const binary = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  metadata.add('x-text', 'a b');
  metadata.add('x-some-bin', binary);
  metadata.add('x-some-bin', Buffer.alloc(0));
  const { initial, trailing } = await unary('UnaryUnary', Buffer.alloc(0), metadata);
  return [initial, trailing].every((got) => got.get('x-text')[0] === 'a b'
    && got.get('x-some-bin')[0].equals(binary) && got.get('x-some-bin')[1].length === 0);
}

function checkCancel() {
  return new Promise((resolve) => {
    const call = client.makeBidiStreamRequest(path('StreamStream'), same, same);
    call.on('error', (error) => resolve(grpc.status[error.code]));
    call.on('data', () => call.cancel());
    call.write(wrapped(Buffer.alloc(1)));
  });
}

async function main() {
  const failure = await unary('Fail', Buffer.alloc(0)).catch((error) => error);
  const long = new grpc.Metadata();
  long.add('long', 'x'.repeat(20000));
  console.log(JSON.stringify({
    sizes: await checkSizes(),
    many: await checkMany(),
    serverStream: await checkServerStream(),
    clientStream: await checkClientStream(),
    chat: await checkChat(),
    metadata: await checkMetadata(),
    cancelled: await checkCancel(),
    late: await code(unary('Wait', Buffer.alloc(0), new grpc.Metadata(), { deadline: Date.now() + 300 })),
    failure: [grpc.status[failure.code], failure.details],
    unknown: await code(unary('None', Buffer.alloc(0))),
    tooLarge: await code(unary('UnaryUnary', Buffer.alloc(33 << 20))),
    tooLong: await code(unary('UnaryUnary', Buffer.alloc(0), long)),
    still: await checkMany(),
  }));
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

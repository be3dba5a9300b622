// /wire.Shapes by grpc-js, on a free port of the loopback: prints its address, ends with its standard input.

'use strict';

const grpc = require('@grpc/grpc-js');
const { wrapped, unwrapped } = require('./messages');

const TIMES = 50;
const same = (bytes) => bytes;
const UNLIMITED = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };

function method(name, requestStream, responseStream) {
  return {
    path: `/wire.Shapes/${name}`,
    requestStream,
    responseStream,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

// A call's own metadata, which it gets back at the beginning and at the end.
function own(call) {
  const metadata = new grpc.Metadata();
  for (const key of Object.keys(call.metadata.getMap()).filter((each) => each.startsWith('x-'))) {
    for (const value of call.metadata.get(key)) metadata.add(key, value);
  }
  return metadata;
}

const server = new grpc.Server({ ...UNLIMITED, ...JSON.parse(process.argv[2]) });
server.addService({
  unaryUnary: method('UnaryUnary', false, false),
  unaryStream: method('UnaryStream', false, true),
  streamUnary: method('StreamUnary', true, false),
  streamStream: method('StreamStream', true, true),
  wait: method('Wait', true, true),
  fail: method('Fail', false, false),
}, {
  unaryUnary(call, callback) {
    call.sendMetadata(own(call));
    callback(null, call.request, own(call));
  },
  unaryStream(call) {
    for (let i = 0; i < TIMES; i += 1) call.write(call.request);
    call.end();
  },
  streamUnary(call, callback) {
    const received = [];
    call.on('data', (message) => received.push(unwrapped(message)));
    call.on('end', () => callback(null, wrapped(Buffer.concat(received))));
  },
  streamStream(call) {
    call.on('data', (message) => call.write(message));
    call.on('end', () => call.end());
  },
  wait(call) {
    call.on('data', () => {});
  },
  fail(call, callback) {
    callback({ code: grpc.status.ABORTED, details: 'no, é' });
  },
});

server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`127.0.0.1:${port}`);
});
process.stdin.resume();
process.stdin.on('end', () => server.forceShutdown());

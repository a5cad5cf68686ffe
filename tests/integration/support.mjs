// What the Node tests share: the server as a process, and clients that read events with a time limit.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import WebSocket from 'ws';

const slowness = Number(process.env.HUBBUB_TEST_SLOWNESS ?? 1);
export const waitMs = 5000 * slowness;

export function within(promise, what, ms = waitMs) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export class Server {
  static async start(...args) {
    const server = new Server();
    const binary = process.env.HUBBUB_BINARY;
    if (!binary) throw new Error('HUBBUB_BINARY is not set');
    server.process = spawn(binary, ['serve', '--listen', '127.0.0.1:0', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    server.log = '';
    server.exited = once(server.process, 'exit');
    const ready = new Promise((resolve, reject) => {
      const read = (data) => {
        server.log += data;
        const found = /listening on [^ ]*?:(\d+)/.exec(server.log);
        if (found) resolve(Number(found[1]));
      };
      server.process.stdout.on('data', read);
      server.process.stderr.on('data', read);
      server.process.on('exit', (code) => reject(new Error(`the server ended with ${code}: ${server.log}`)));
      server.process.on('error', reject);
    });
    ready.catch(() => {});
    server.port = await within(ready, 'the server is ready', 4 * waitMs);
    return server;
  }

  async stop(signal = 'SIGTERM') {
    this.process.kill(signal);
    const [code] = await within(this.exited, 'the server stops', 3 * waitMs).catch((error) => {
      this.process.kill('SIGKILL');
      throw error;
    });
    if (code !== 0) throw new Error(`the server ended with ${code}: ${this.log}`);
  }
}

export class Client {
  static async connect(server, user, options = {}) {
    const client = new Client();
    client.events = [];
    client.waiting = [];
    client.socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws/${encodeURIComponent(user)}`, options);
    client.closed = new Promise((resolve) => client.socket.on('close', (code) => resolve(code)));
    client.socket.on('message', (data, isBinary) => {
      if (isBinary) throw new Error('a binary message');
      client.events.push(JSON.parse(data.toString()));
      client.wake();
    });
    await within(once(client.socket, 'open'), `${user} connects`, 2 * waitMs);
    client.connected = await client.expect('connected');
    return client;
  }

  wake() {
    this.waiting = this.waiting.filter(({ matches, resolve }) => {
      const index = this.events.findIndex(matches);
      if (index < 0) return true;
      resolve(this.events.splice(index, 1)[0]);
      return false;
    });
  }

  expect(type, fields = {}) {
    const matches = (event) =>
      (type === undefined || event.type === type) && Object.entries(fields).every(([key, value]) => event[key] === value);
    const found = new Promise((resolve) => this.waiting.push({ matches, resolve }));
    this.wake();
    return within(found, `${type} ${JSON.stringify(fields)}, have ${JSON.stringify(this.events.slice(-10))}`);
  }

  send(command) {
    this.socket.send(JSON.stringify(command));
  }

  async call(command) {
    this.lastId = (this.lastId ?? 0) + 1;
    this.send({ ...command, id: this.lastId });
    return this.expect(undefined, { id: this.lastId });
  }

  async close() {
    this.socket.close(1000);
    return within(this.closed, 'the closing handshake');
  }
}

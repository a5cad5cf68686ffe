// Event streams by clients that we did not write: npm `eventsource`, and Chromium's EventSource and fetch.
import assert from 'node:assert/strict';
import http from 'node:http';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { EventSource } from 'eventsource';
import { chromium } from 'playwright-core';
import { Client, Server, waitMs, within } from './support.mjs';

// One origin for the page and for Hubbub, as a load balancer would make it; `cut` ends what it has passed on.
async function startProxy(port) {
  const open = new Set();
  const proxy = http.createServer((request, response) => {
    if (request.url === '/') {
      response.setHeader('Content-Type', 'text/html');
      return response.end('<!doctype html><title>test</title>');
    }
    if (request.url === '/favicon.ico') return response.writeHead(204).end();
    const upstream = http.request({ port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    response.on('error', () => {});
    request.pipe(upstream);
    open.add(response);
    response.on('close', () => open.delete(response));
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return {
    port: proxy.address().port,
    cut() { for (const response of open) response.destroy(); },
    stop() {
      this.cut();
      proxy.closeAllConnections();
      return new Promise((resolve) => proxy.close(resolve));
    },
  };
}

async function waitFor(condition, what) {
  const deadline = Date.now() + 4 * waitMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('event streams', () => {
  let server;
  let proxy;
  let bob;
  before(async () => {
    server = await Server.start('--shards', '2', '--sse-retry', '100ms');
    proxy = await startProxy(server.port);
    bob = await Client.connect(server, 'bob');
  });
  after(async () => {
    await bob.close();
    await proxy.stop();
    await server.stop();
  });

  test('npm eventsource reconnects by itself and misses nothing', async () => {
    const room = 'npm caf\u00e9';
    await bob.call({ type: 'join_room', room_id: room });
    const source = new EventSource(`http://127.0.0.1:${proxy.port}/events/ann?room=${encodeURIComponent(room)}`);
    const messages = [];
    const connected = [];
    let joined = 0;
    source.addEventListener('message', (event) => messages.push(JSON.parse(event.data)));
    source.addEventListener('connected', (event) => connected.push(JSON.parse(event.data)));
    source.addEventListener('joined', () => { joined += 1; });
    try {
      await waitFor(() => joined === 1, 'joined');
      for (let n = 1; n <= 30; n += 1) {
        await bob.call({ type: 'room_message', room_id: room, content: n });
        if (n % 10 === 5) {
          proxy.cut();
          const times = connected.length;
          if (n === 15) await waitFor(() => connected.length > times, 'a reconnect');
        }
      }
      const contents = () => [...new Set(messages.map((message) => message.content))];
      await waitFor(() => contents().length === 30, 'all messages');
      assert.deepEqual(contents(), Array.from({ length: 30 }, (_, i) => i + 1));
      assert.ok(connected.length > 1);
      assert.ok(connected.slice(1).every((event) => event.resumed && event.session_id === connected[0].session_id));
    } finally {
      source.close();
    }
  });

  test("Chromium's EventSource and fetch", async () => {
    const room = 'chromium';
    await bob.call({ type: 'join_room', room_id: room });
    const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
    try {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${proxy.port}/`);
      await page.evaluate((name) => {
        window.messages = [];
        window.connected = [];
        window.joined = 0;
        window.source = new EventSource(`/events/eve?rooms=${name}`);
        window.source.addEventListener('message', (event) => window.messages.push(JSON.parse(event.data).content));
        window.source.addEventListener('connected', (event) => window.connected.push(JSON.parse(event.data)));
        window.source.addEventListener('joined', () => { window.joined += 1; });
      }, room);
      await waitFor(() => page.evaluate(() => window.joined === 1), 'joined');
      for (let n = 1; n <= 20; n += 1) {
        await bob.call({ type: 'room_message', room_id: room, content: n });
        if (n === 10) {
          await waitFor(() => page.evaluate(() => window.messages.length === 10), 'the first ten');
          proxy.cut();
        }
      }
      const seen = () => page.evaluate(() => [...new Set(window.messages)]);
      await waitFor(async () => (await seen()).length === 20, 'all messages');
      assert.deepEqual(await seen(), Array.from({ length: 20 }, (_, i) => i + 1));
      const connected = await page.evaluate(() => window.connected);
      assert.ok(connected.length > 1 && connected.at(-1).resumed);

      // Speaking and polling by fetch.
      const answers = await page.evaluate(async ({ session_id: id, session_key: key }) => {
        const response = await fetch(`/sessions/${id}/commands`, {
          method: 'POST', headers: { 'X-Session-Key': key },
          body: JSON.stringify([{ type: 'room_message', room_id: 'chromium', content: 'by fetch' }]),
        });
        return (await response.json()).answers;
      }, connected.at(-1));
      assert.equal(answers[0].type, 'ack');
      await bob.expect('message', { content: 'by fetch' });
      const polled = await page.evaluate(async () => (await fetch('/poll/mia?timeout=5')).json());
      assert.equal(polled.messages[0].type, 'connected');
      await page.evaluate(() => window.source.close());
    } finally {
      await within(browser.close(), 'the browser closes', 4 * waitMs);
    }
  });
});

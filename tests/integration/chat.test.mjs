import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client, Server, within } from './support.mjs';

for (const shards of ['1', '2']) {
  describe(`Node ws, ${shards} shards`, () => {
    let server;
    before(async () => { server = await Server.start('--shards', shards); });
    after(async () => { await server.stop(); });

    for (const compressed of [false, true]) {
      const options = { perMessageDeflate: compressed };

      test(`three users chat in a room, compression ${compressed}`, async () => {
        const room = `caf\u00e9 ${compressed}`;
        const names = ['ann', 'b\u00f6b', '\u6f22 / \u5b57'].map((name) => `${name} ${compressed}`);
        const clients = [];
        for (const name of names) {
          const client = await Client.connect(server, name, options);
          assert.equal(client.connected.user_id, name);
          assert.equal(client.socket.extensions.includes('permessage-deflate'), compressed);
          clients.push(client);
          const joined = await client.call({ type: 'join_room', room_id: room });
          assert.equal(joined.type, 'joined');
          assert.equal(joined.member_count, clients.length);
        }
        for (const name of names.slice(1)) await clients[0].expect('user_joined', { user_id: name });
        const contents = ['hi', { text: 'long '.repeat(2000) }, [1, null, '\u{1f600}'], 'x'.repeat(511), 'y'.repeat(600)];
        for (const [index, content] of contents.entries()) {
          const ack = await clients[index % 3].call({ type: 'room_message', room_id: room, content });
          assert.equal(ack.seq, index + 1);
          for (const client of clients) {
            const event = await client.expect('message', { seq: index + 1 });
            assert.deepEqual(event.content, content);
            assert.equal(event.from, names[index % 3]);
            assert.equal(event.id, ack.message);
          }
        }
        const history = await clients[2].call({ type: 'history', room_id: room, limit: 2 });
        assert.deepEqual(history.messages.map((event) => event.content), contents.slice(3));
        assert.equal(history.more, true);
        assert.equal(await clients[1].close(), 1000);
        await clients[0].expect('user_left', { user_id: names[1] });
        await clients[0].close();
        await clients[2].close();
      });

      test(`direct messages and signals, compression ${compressed}`, async () => {
        const ann = await Client.connect(server, `ann d${compressed}`, options);
        const bob = await Client.connect(server, `bob d${compressed}`, options);
        const ack = await ann.call({ type: 'direct_message', to_user: `bob d${compressed}`, content: { n: 1 } });
        assert.equal(ack.sessions, 1);
        const event = await bob.expect('direct_message');
        assert.deepEqual([event.from, event.content, event.id], [`ann d${compressed}`, { n: 1 }, ack.message]);
        await ann.call({ type: 'signal', to_user: `bob d${compressed}`, data: { sdp: 'v=0' } });
        const signal = await bob.expect('signal');
        assert.deepEqual([signal.from_session, signal.data], [ann.connected.session_id, { sdp: 'v=0' }]);
        await ann.close();
        await bob.close();
      });

      test(`hundreds of messages arrive once and in order, compression ${compressed}`, async () => {
        const room = `order ${compressed}`;
        const ann = await Client.connect(server, `ann o${compressed}`, options);
        const bob = await Client.connect(server, `bob o${compressed}`, options);
        await ann.call({ type: 'join_room', room_id: room });
        await bob.call({ type: 'join_room', room_id: room });
        for (let n = 1; n <= 500; n++) {
          ann.send({ type: 'room_message', room_id: room, content: `${n} ${'z'.repeat((n * 37) % 3000)}` });
        }
        for (const client of [ann, bob]) {
          await client.expect('message', { seq: 500 });
          const seqs = client.events.filter((event) => event.type === 'message').map((event) => event.seq);
          assert.deepEqual(seqs, Array.from({ length: 499 }, (_, index) => index + 1));
          await client.close();
        }
      });
    }

    test('pings of either side are answered', async () => {
      const ann = await Client.connect(server, 'pinging');
      const pong = new Promise((resolve) => ann.socket.on('pong', (data) => resolve(data.toString())));
      ann.socket.ping('are you there');
      assert.equal(await within(pong, 'a pong'), 'are you there');
      await ann.close();
    });

    test('a binary message closes with 1003, a large one with 1009', async () => {
      const ann = await Client.connect(server, 'ann');
      ann.socket.send(Buffer.from('{"type":"ping"}'));
      assert.equal(await within(ann.closed, 'closing'), 1003);
      for (const perMessageDeflate of [false, true]) {
        const bob = await Client.connect(server, 'bob', { perMessageDeflate });
        bob.socket.send('"' + 'x'.repeat(70000) + '"');
        assert.equal(await within(bob.closed, 'closing'), 1009);
      }
    });

    test('errors are answered and the session lives', async () => {
      const ann = await Client.connect(server, 'ann');
      ann.socket.send('{"type":');
      assert.equal((await ann.expect('error')).code, 'bad_json');
      assert.equal((await ann.call({ type: 'nonsense' })).code, 'unknown_type');
      assert.equal((await ann.call({ type: 'ping' })).type, 'pong');
      await ann.close();
    });

    test('stopping tells 1001', async () => {
      const other = await Server.start('--shards', shards);
      const ann = await Client.connect(other, 'ann');
      const stopped = other.stop();
      assert.equal(await within(ann.closed, 'closing'), 1001);
      await stopped;
    });
  });
}

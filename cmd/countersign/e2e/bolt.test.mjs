// The platform vendor's own receiver takes what the local Slack sends: the four
// kinds pass its verification and its parsers; changed and old ones do not.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import bolt from '@slack/bolt';
import { WebClient } from '@slack/web-api';
import { start, card } from './emulator.mjs';

const form = {
  type: 'modal',
  callback_id: 'form',
  title: { type: 'plain_text', text: 'Why?' },
  submit: { type: 'plain_text', text: 'Send' },
  blocks: [{ type: 'input', block_id: 'why', label: { type: 'plain_text', text: 'Why?' }, element: { type: 'plain_text_input', action_id: 'reason' } }],
};

// between listens as the app, remembers each delivery and passes it on unchanged.
async function between() {
  const seen = [];
  let target = '';
  const server = createServer(async (req, res) => {
    const chunks = [];
    for await (const c of req) chunks.push(c);
    const got = { path: req.url, headers: req.headers, body: Buffer.concat(chunks) };
    seen.push(got);
    const out = await deliver(target, got);
    res.writeHead(out.status, { 'Content-Type': out.type });
    res.end(out.body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { seen, url: `http://127.0.0.1:${server.address().port}`, to: (url) => (target = url), close: () => server.close() };
}

async function deliver(target, { path, headers, body }, changed = {}) {
  const keep = Object.fromEntries(Object.entries(headers).filter(([k]) => k.startsWith('x-slack-') || k === 'content-type'));
  const res = await fetch(target + path, { method: 'POST', headers: { ...keep, ...changed.headers }, body: changed.body ?? body });
  return { status: res.status, type: res.headers.get('content-type') ?? 'text/plain', body: await res.text() };
}

test('bolt accepts the four kinds, and refuses changed and old ones', async (t) => {
  const app = await between();
  const slack = await start('-deliver', app.url);
  const receiver = new bolt.HTTPReceiver({ signingSecret: slack.signing_secret, endpoints: ['/interactions', '/commands', '/events'], logLevel: bolt.LogLevel.ERROR });
  // Refusals are asserted below by their status; bolt would print each of them.
  const silent = { debug() {}, info() {}, warn() {}, error() {}, setLevel() {}, getLevel: () => bolt.LogLevel.ERROR, setName() {} };
  receiver.logger = silent;
  const me = new bolt.App({ receiver, logger: silent, clientOptions: { slackApiUrl: slack.apiUrl }, authorize: async () => ({ botToken: slack.bot_token, botId: 'B0BOT', botUserId: 'U0BOT' }) });
  const heard = [];
  me.command('/approvals', async ({ command, ack }) => {
    heard.push(['command', command.text]);
    await ack({ text: `You said ${command.text}` });
  });
  me.action('approve', async ({ action, body, ack, client }) => {
    heard.push(['action', action.value]);
    await ack();
    await client.views.open({ trigger_id: body.trigger_id, view: form });
  });
  me.view('form', async ({ view, ack }) => {
    const said = view.state.values.why.reason.value;
    heard.push(['view', said]);
    await (said === 'no' ? ack({ response_action: 'errors', errors: { why: 'Say more.' } }) : ack());
  });
  me.event('app_mention', async ({ event }) => {
    heard.push(['event', event.text]);
  });
  const server = await me.start(0);
  const target = `http://127.0.0.1:${server.address().port}`;
  app.to(target);
  t.after(async () => {
    await me.stop();
    app.close();
    await slack.stop();
  });

  const web = new WebClient(slack.bot_token, { slackApiUrl: slack.apiUrl });
  const { ts } = await web.chat.postMessage(card);

  assert.equal((await slack.say('/approvals pending')).status, 200);
  assert.equal((await slack.click(ts, 'act', 'approve')).shown, undefined);
  let view = null;
  for (let i = 0; i < 100 && !view; i++) {
    view = (await slack.state()).views.at(-1);
    if (!view) await new Promise((r) => setTimeout(r, 20));
  }
  await slack.submit(view.id, { why: 'no' });
  assert.deepEqual((await slack.state()).views[0].errors, { why: 'Say more.' });
  await slack.submit(view.id, { why: 'because' });
  assert.equal((await slack.state()).views.length, 0);
  assert.equal((await slack.say('@countersign hello')).status, 200);
  assert.deepEqual(heard, [['command', 'pending'], ['action', 'd1'], ['view', 'no'], ['view', 'because'], ['event', '<@U0BOT> hello']]);
  assert.ok((await slack.state()).messages.some((m) => m.only === 'U0ADA' && m.text === 'You said pending'));

  const first = new Map(app.seen.map((got) => [got.path, got]));
  assert.deepEqual([...first.keys()].sort(), ['/commands', '/events', '/interactions']);
  for (const [path, got] of first) {
    const at = got.headers['x-slack-request-timestamp'];
    const sign = (ts, body) => 'v0=' + createHmac('sha256', slack.signing_secret).update(`v0:${ts}:`).update(body).digest('hex');
    assert.equal(sign(at, got.body), got.headers['x-slack-signature'], `${path}: our own HMAC agrees`);
    assert.equal((await deliver(target, got)).status, 200, `${path}: unchanged`);
    assert.equal((await deliver(target, got, { body: Buffer.concat([got.body, Buffer.from(' ')]) })).status, 401, `${path}: a byte appended`);
    assert.equal((await deliver(target, got, { headers: { 'x-slack-request-timestamp': String(Number(at) + 1) } })).status, 401, `${path}: another time`);
    const old = String(Number(at) - 360);
    assert.equal((await deliver(target, got, { headers: { 'x-slack-request-timestamp': old, 'x-slack-signature': sign(old, got.body) } })).status, 401, `${path}: six minutes old`);
  }
});

test('bolt refuses a workspace whose clock is six minutes behind', async (t) => {
  const app = await between();
  const slack = await start('-deliver', app.url, '-skew', '-6m');
  t.after(async () => {
    app.close();
    await slack.stop();
  });
  const receiver = new bolt.HTTPReceiver({ signingSecret: slack.signing_secret, endpoints: ['/commands'], logLevel: bolt.LogLevel.ERROR });
  receiver.logger = { debug() {}, info() {}, warn() {}, error() {} };
  const me = new bolt.App({ receiver, logLevel: bolt.LogLevel.ERROR, authorize: async () => ({ botToken: slack.bot_token }) });
  const server = await me.start(0);
  t.after(() => me.stop());
  app.to(`http://127.0.0.1:${server.address().port}`);
  const answer = await slack.say('/approvals pending');
  assert.equal(answer.status, 401);
  assert.equal(answer.shown, 'dispatch_failed');
});

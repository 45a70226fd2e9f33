// The platform vendor's own Socket Mode client talks to the local Slack: hello,
// envelopes, acknowledgements, and a connection that is refreshed.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { SocketModeClient, LogLevel } from '@slack/socket-mode';
import { WebClient } from '@slack/web-api';
import { start, card, until } from './emulator.mjs';

test('socket-mode connects, acknowledges and comes back after a refresh', async (t) => {
  const slack = await start('-socket');
  const client = new SocketModeClient({ appToken: slack.app_token, logLevel: LogLevel.ERROR, clientOptions: { slackApiUrl: slack.apiUrl } });
  const heard = [];
  let connected = 0;
  client.on('connected', () => connected++);
  client.on('slash_commands', async ({ body, ack }) => {
    heard.push(['command', body.text]);
    await ack({ text: `By socket: ${body.text}` });
  });
  client.on('interactive', async ({ body, ack }) => {
    heard.push([body.type, body.actions[0].value]);
    await ack();
  });
  client.on('app_mention', async ({ event, ack }) => {
    heard.push(['event', event.text]);
    await ack();
  });
  t.after(async () => {
    await client.disconnect();
    await slack.stop();
  });
  await client.start();
  assert.equal(connected, 1);

  const web = new WebClient(slack.bot_token, { slackApiUrl: slack.apiUrl });
  const { ts } = await web.chat.postMessage(card);
  assert.equal((await slack.click(ts, 'act', 'approve')).shown, undefined);
  assert.equal((await slack.say('/approvals mine')).shown, undefined);
  assert.equal((await slack.say('@countersign hello')).status, 200);
  assert.deepEqual(heard, [['block_actions', 'd1'], ['command', 'mine'], ['event', '<@U0BOT> hello']]);
  assert.ok((await slack.state()).messages.some((m) => m.only === 'U0ADA' && m.text === 'By socket: mine'));
  assert.ok((await slack.deliveries()).every((d) => d.socket));

  await slack.disconnect('refresh_requested');
  await until('the client is connected again', () => connected === 2, 40000);
  await until('a click arrives again', async () => !(await slack.click(ts, 'act', 'approve')).shown);
  assert.equal(heard.at(-1)[0], 'block_actions');
});

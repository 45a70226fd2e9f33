// Starts the local Slack for a test, and acts as people through its page's API.
import { spawn, execFileSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

export const here = dirname(fileURLToPath(import.meta.url));

export const ada = 'U0ADA';
export const deploys = 'C0DEPLOYS';

let binary = '';

function built() {
  if (!binary) {
    binary = join(mkdtempSync(join(tmpdir(), 'emulator-')), 'emulator');
    execFileSync('go', ['build', '-o', binary, './emulator'], { cwd: here, stdio: 'inherit' });
  }
  return binary;
}

// start runs an emulator with command line flags; it ends with stop().
export async function start(...flags) {
  const child = spawn(built(), flags, { stdio: ['pipe', 'pipe', 'inherit'] });
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', (code) => reject(new Error(`the emulator ended with ${code}`)));
  });
  const it = JSON.parse(line);
  const send = async (method, path, body) => {
    const res = await fetch(it.url + path, { method, headers: body ? { 'Content-Type': 'application/json' } : {}, body: body && JSON.stringify(body) });
    const raw = await res.text();
    if (!res.ok) throw new Error(`${method} ${path}: ${res.status} ${raw}`);
    return JSON.parse(raw);
  };
  return {
    ...it,
    apiUrl: `${it.url}/api/`,
    state: (user = ada, channel = deploys) => send('GET', `/emulator/state?user=${user}&channel=${channel}`),
    click: (message, block, action) => send('POST', '/emulator/click', { user: ada, channel: deploys, message, block, action }),
    submit: (view, values) => send('POST', '/emulator/submit', { user: ada, view, values }),
    say: (text) => send('POST', '/emulator/say', { user: ada, channel: deploys, text }),
    deliveries: () => send('GET', '/emulator/deliveries'),
    disconnect: (action) => send('POST', '/emulator/sockets', { action }),
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', resolve);
        child.stdin.end();
      }),
  };
}

// card is a message with one button, for the peers to click.
export const card = {
  channel: deploys,
  text: 'Deploy?',
  blocks: [
    { type: 'header', text: { type: 'plain_text', text: 'Deploy?' } },
    { type: 'actions', block_id: 'act', elements: [{ type: 'button', action_id: 'approve', value: 'd1', text: { type: 'plain_text', text: 'Approve' } }] },
  ],
};

// until waits for something to become true.
export async function until(what, check, ms = 15000) {
  const end = Date.now() + ms;
  while (Date.now() < end) {
    if (await check()) return;
    await new Promise((r) => setTimeout(r, 50));
  }
  throw new Error(`still not: ${what}`);
}

// Walks through the demo in a browser, as its user would: Ada approves one
// request and denies another with a reason, and asks for what is pending.
//
//   node browser.mjs              builds and starts `countersign demo`
//   node browser.mjs --emulator   the small app of ./emulator instead
//   PAGE=http://127.0.0.1:4000/ node browser.mjs   what runs there already
//
// CHROMIUM is the browser (/usr/bin/chromium), OUT the folder for screenshots,
// COUNTERSIGN a program that is built already, by its absolute path.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { here, start, until } from './emulator.mjs';

const out = process.env.OUT ?? join(tmpdir(), 'countersign-screenshots');
const reason = 'Not on a Friday afternoon';

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// demo starts `countersign demo` with a state of its own. Without a terminal the
// demo plays its story by itself, so script(1) gives it one.
async function demo() {
  const dir = mkdtempSync(join(tmpdir(), 'countersign-demo-'));
  const binary = process.env.COUNTERSIGN ?? join(dir, 'countersign');
  const state = join(dir, 'state');
  if (!process.env.COUNTERSIGN) execFileSync('go', ['build', '-o', binary, '..'], { cwd: here, stdio: 'inherit' });
  const [listen, chat] = [await freePort(), await freePort()];
  const line = `${binary} demo --state ${state} --listen 127.0.0.1:${listen} --chat 127.0.0.1:${chat}`;
  const child = spawn('script', ['-qec', line, '/dev/null'], { stdio: ['pipe', 'inherit', 'inherit'] });
  let ended = false;
  const exit = new Promise((resolve) => child.once('exit', resolve)).then(() => (ended = true));
  const url = `http://127.0.0.1:${chat}/`;
  await until('the demo shows its page', async () => {
    assert.ok(!ended, 'the demo ended');
    return (await fetch(url).catch(() => ({}))).ok;
  }, 60000);
  return {
    url,
    // ask asks for another deployment, as a machine; exit is its exit code.
    ask: () => {
      const args = ['request', '--server', `http://127.0.0.1:${listen}`, '--key', join(state, 'ci-bot.key.pem'), '--issuer', 'ci-bot', '--action', 'deploy',
        '--resource', 'shop/web', '--environment', 'production', '--scopes', 'deploy:shop', '--audience', 'shop-production', '--ttl', '10m', '--reason', 'A second one'];
      const machine = spawn(binary, args, { cwd: dir, stdio: ['ignore', 'ignore', 'inherit'] });
      return { exit: new Promise((resolve) => machine.once('exit', resolve)) };
    },
    stop: async () => {
      child.stdin.write('\x03'); // Ctrl-C
      await exit;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function open() {
  if (process.env.PAGE) return { url: process.env.PAGE, stop: async () => {} };
  if (process.argv.includes('--emulator')) return start('-app');
  return demo();
}

// press presses a button of a message and says yes if it asks.
async function press(page, message, name) {
  await message.getByRole('button', { name, exact: true }).click();
  const yes = page.getByTestId('confirm-yes');
  if (await yes.isVisible().catch(() => false)) await yes.click();
}

// waiting finds the newest message that has a button, and pins it by its id.
async function waiting(page, name) {
  const message = page.locator('#messages').getByTestId('message').filter({ has: page.getByRole('button', { name, exact: true }) }).last();
  await message.waitFor({ timeout: 30000 });
  const ts = await message.getAttribute('data-ts');
  return page.locator(`#messages [data-testid=message][data-ts="${ts}"]`);
}

// act switches to a person.
async function act(page, id) {
  await page.getByTestId(`person-${id}`).click();
  await page.locator(`[data-testid=person-${id}][aria-checked=true]`).waitFor();
}

// approveBy lets people approve one after the other until the card has no such
// button any more, and returns who decided it.
async function approveBy(page, message, people) {
  for (const id of people) {
    await act(page, id);
    const before = Number(await message.getAttribute('data-updates'));
    await press(page, message, 'Approve');
    await until(`the card changes after ${id} approved`, async () => Number(await message.getAttribute('data-updates')) > before);
    if ((await message.getByRole('button', { name: 'Approve', exact: true }).count()) === 0) return id;
  }
  throw new Error('nobody’s approval decides the card');
}

async function walk(page, { url, ask }) {
  const picture = async (name) => {
    await page.waitForTimeout(250); // fonts and the scroll position settle
    await page.screenshot({ path: join(out, `${name}.png`) });
  };
  await page.goto(url);
  await act(page, 'U0ADA');

  const first = await waiting(page, 'Approve');
  await picture('1-waiting');
  await approveBy(page, first, ['U0ADA', 'U0GRACE']);
  assert.match(await first.innerText(), /approved/i);
  assert.equal(await first.getByRole('button', { name: 'Deny', exact: true }).count(), 0);
  await picture('2-approved');

  await act(page, 'U0ADA');
  const machine = ask?.();
  const second = await waiting(page, 'Deny');
  await press(page, second, 'Deny');
  const form = page.getByTestId('modal');
  await form.waitFor();
  await picture('3-deny-form');
  await form.getByRole('textbox').first().fill(reason);
  await form.getByTestId('modal-submit').click();
  await form.waitFor({ state: 'hidden' });
  await until('the denied card shows the reason', async () => (await second.innerText()).includes(reason));
  assert.match(await second.innerText(), /denied/i);
  assert.equal(await second.getByRole('button', { name: 'Approve', exact: true }).count(), 0);
  if (machine) assert.notEqual(await machine.exit, 0, 'the machine does not learn of the denial');
  await picture('4-denied');

  const before = await page.getByTestId('ephemeral').count();
  await page.getByTestId('composer').fill('/approvals pending');
  await page.getByTestId('composer').press('Enter');
  await until('the command is answered, to Ada alone', async () => (await page.getByTestId('ephemeral').count()) > before);
  await picture('5-command');
  await act(page, 'U0TIM');
  assert.equal(await page.getByText('/approvals pending failed').count(), 0);
  assert.equal(await page.getByTestId('ephemeral').count(), 0, 'Tim sees what only Ada may see');

  const nameless = await page.evaluate(() => [...document.querySelectorAll('button')].filter((b) => b.offsetParent && !(b.getAttribute('aria-label') || b.textContent).trim()).length);
  assert.equal(nameless, 0, 'a button has no name');
}

mkdirSync(out, { recursive: true });
const it = await open();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-dev-shm-usage'] });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
const wrong = [];
page.on('pageerror', (err) => wrong.push(err.message));
page.on('console', (m) => m.type() === 'error' && wrong.push(m.text()));
try {
  await walk(page, it);
  assert.deepEqual(wrong, [], 'the page reports errors');
  console.log(`ok: approved, denied with a reason, asked what is pending; screenshots in ${out}`);
} catch (err) {
  await page.screenshot({ path: join(out, 'failed.png') });
  console.error(`screenshot of the failure: ${join(out, 'failed.png')}`);
  throw err;
} finally {
  await browser.close();
  await it.stop();
}

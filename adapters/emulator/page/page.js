// The page: keeps what is shown in step with the workspace's state.
import { el, sync } from './dom.js';
import { get, post, watch } from './api.js';
import { blocks } from './blocks.js';
import { mrkdwn, names } from './mrkdwn.js';
import { confirm, showView, showWire, showFaults } from './dialogs.js';

const byId = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const here = { user: query.get('as') ?? '', channel: query.get('channel') ?? '', thread: query.get('thread') ?? '', seen: new Map(), trouble: new Map() };
let state = null;

const person = (id) => state.people.find((p) => p.id === id);
names.user = (id) => person(id)?.name ?? id;
names.group = (id) => state.groups.find((g) => g.id === id)?.handle ?? id;
names.channel = (id) => state.channels.find((c) => c.id === id)?.name ?? id;

// go changes who acts and where, and the address with it.
function go(change) {
  Object.assign(here, change);
  const q = new URLSearchParams({ as: here.user, channel: here.channel });
  if (here.thread) q.set('thread', here.thread);
  history.replaceState(null, '', `?${q}`);
  notice('');
  refresh();
}

function notice(said) {
  const line = byId('notice');
  line.textContent = said;
  line.hidden = !said;
}
const failed = (err) => notice(err.message);

let busy = false;
let again = false;

// refresh asks for the state and shows it; calls in the meantime are one.
async function refresh() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    do {
      again = false;
      state = await get(`/emulator/state?${new URLSearchParams({ user: here.user, channel: here.channel })}`);
      here.user = state.me;
      if (!state.channels.some((c) => c.id === here.channel)) {
        here.channel = state.channels[0]?.id ?? '';
        here.thread = '';
        again = true;
      }
    } while (again);
    show();
  } catch (err) {
    failed(err);
  } finally {
    busy = false;
  }
}

function show() {
  const room = state.channels.find((c) => c.id === here.channel);
  const last = state.messages.at(-1)?.ts;
  if (last) here.seen.set(here.user + here.channel, last);
  showSide();
  showRoom(room);
  showThread();
  showView(state.views.at(-1), { user: here.user, pressed: pressInView, failed });
}

const initials = (p) => p.real_name.split(' ').map((w) => w[0]).slice(0, 2).join('');
const tone = (id) => state.people.findIndex((p) => p.id === id) % 6;
const face = (p) => el('span', { class: `face tone-${p.bot ? 'app' : tone(p.id)}`, 'aria-hidden': 'true' }, initials(p));

function badge(p) {
  if (p.bot) return 'app';
  if (p.deactivated) return 'deactivated';
  if (p.team !== state.team) return 'other company';
  if (p.guest || p.single_guest) return 'guest';
  return '';
}

function showSide() {
  const fresh = (c) => c.last && (here.seen.get(here.user + c.id) ?? '') < c.last;
  const entry = (label, mark) => ({ c }) => el('li', {},
    el('button', {
      type: 'button', class: `entry ${c.id === here.channel ? 'current' : ''} ${fresh(c) ? 'fresh' : ''}`,
      'aria-current': c.id === here.channel ? 'page' : null, 'data-testid': `channel-${c.id}`,
      onclick: () => go({ channel: c.id, thread: '' }),
    }, el('span', { class: 'hash', 'aria-hidden': 'true' }, mark(c)), label(c), fresh(c) ? el('span', { class: 'dot', 'aria-label': 'new messages' }) : null));
  const list = (keep) => state.channels.filter(keep).map((c) => ({ c, key: c.id, print: JSON.stringify([c.name, c.id === here.channel, fresh(c), here.user]) }));
  sync(byId('channels'), list((c) => !c.im), entry((c) => c.name, (c) => (c.private ? '◆' : '#')));
  sync(byId('directs'), list((c) => c.im), entry(() => state.app, () => '●'));
  const people = state.people.filter((p) => !p.bot && p.id !== 'USLACKBOT');
  sync(byId('people'), people.map((p) => ({ p, key: p.id, print: JSON.stringify([p, p.id === here.user]) })), ({ p }) => el('li', {},
    el('button', {
      type: 'button', role: 'radio', class: `entry ${p.id === here.user ? 'current' : ''}`, 'aria-checked': String(p.id === here.user),
      'data-testid': `person-${p.id}`, disabled: p.deactivated, onclick: () => go({ user: p.id, thread: '' }),
    }, face(p), el('span', { class: 'who' }, p.real_name, el('small', {}, badge(p) || p.title)))));
  byId('link-state').textContent = state.socket_mode ? `${state.sockets} socket${state.sockets === 1 ? '' : 's'}` : '';
  byId('open-faults').classList.toggle('armed', state.faults.length > 0);
}

const title = (room) => (room ? (room.im ? state.app : `#${room.name}`) : '');

function showRoom(room) {
  byId('room-name').textContent = title(room);
  byId('room-topic').textContent = [room?.topic, room?.shared ? 'shared with another company' : '', room?.archived ? 'archived' : ''].filter(Boolean).join(' · ');
  document.title = `${title(room)} – Harbor chat (local)`;
  const field = byId('composer-text');
  field.setAttribute('aria-label', `Message ${title(room)}`);
  field.placeholder = room?.member ? `Message ${title(room)}, or ${state.command} help` : 'You are not a member; commands work';
  follow(byId('messages'), () => {
    const top = state.messages.filter((m) => !m.thread_ts || m.thread_ts === m.ts);
    sync(byId('messages'), top.map((m) => item(m, true)), message);
    if (!top.length) byId('messages').replaceChildren(el('p', { class: 'empty faint', 'data-key': 'empty' }, 'Nothing has been said here yet.'));
  });
}

// follow keeps a list at its end if it was there before work changed it.
function follow(box, work) {
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const was = box.dataset.place;
  box.dataset.place = here.user + here.channel + here.thread;
  work();
  if (atEnd || was !== box.dataset.place) box.scrollTop = box.scrollHeight;
}

function showThread() {
  const pane = byId('thread');
  const parent = here.thread && state.messages.find((m) => m.ts === here.thread);
  pane.hidden = !parent;
  byId('shell').classList.toggle('with-thread', Boolean(parent));
  if (!parent) return;
  follow(byId('thread-messages'), () => {
    const all = state.messages.filter((m) => m.ts === here.thread || m.thread_ts === here.thread);
    sync(byId('thread-messages'), all.map((m) => item(m, false)), message);
  });
}

function item(m, threaded) {
  const replies = threaded ? state.messages.filter((x) => x.thread_ts === m.ts && x.ts !== m.ts).length : 0;
  const trouble = here.trouble.get(here.user + m.ts) ?? '';
  return { m, replies, threaded, trouble, key: m.ts, print: JSON.stringify([m, replies, trouble, here.user]) };
}

function message({ m, replies, threaded, trouble }) {
  const who = person(m.user);
  const at = new Date(Number(m.ts.split('.')[0]) * 1000);
  const tag = badge(who);
  return el('article', {
    class: `message ${m.only ? 'private' : ''}`, 'data-testid': m.only ? 'ephemeral' : 'message', 'data-ts': m.ts,
    'data-updates': m.updates ?? 0, 'aria-label': `${who.real_name}, ${at.toLocaleTimeString('en-GB')}`,
  },
  face(who),
  el('div', { class: 'message-body' },
    m.only ? el('p', { class: 'only' }, el('span', { 'aria-hidden': 'true' }, '◉ '), 'Only visible to you') : null,
    el('p', { class: 'by' }, el('strong', {}, who.real_name), tag ? el('span', { class: 'tag' }, tag) : null,
      el('time', { datetime: at.toISOString(), title: at.toISOString() }, at.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })),
      m.edited ? el('span', { class: 'faint' }, '(edited)') : null),
    m.blocks ? el('div', { class: 'blocks' }, blocks(m.blocks, (b, e, node) => press(m, b, e, node))) : el('div', { class: 'para', 'data-testid': 'text' }, mrkdwn(m.text)),
    (m.files ?? []).map((f) => file(f, m.previews?.[f.id])),
    reactions(m),
    trouble ? el('p', { class: 'notice', role: 'alert', 'data-testid': 'trouble' }, `⚠ ${trouble}`) : null,
    threaded && !m.only ? el('button', { type: 'button', class: `replies ${replies ? '' : 'quiet'}`, 'data-testid': 'open-thread', onclick: () => go({ thread: m.ts }) },
      replies ? `${replies} ${replies === 1 ? 'reply' : 'replies'}` : 'Reply in thread') : null));
}

function file(f, preview) {
  return el('figure', { class: 'file', 'data-testid': `file-${f.id}` },
    el('figcaption', {}, el('strong', {}, f.title), el('span', { class: 'faint' }, ` ${f.name} · ${f.size} bytes `),
      el('a', { href: `/emulator/file/${encodeURIComponent(f.id)}`, download: f.name }, 'Download')),
    preview ? el('pre', { tabindex: 0 }, preview) : null);
}

function reactions(m) {
  const all = Object.entries(m.reactions ?? {});
  if (!all.length) return null;
  return el('div', { class: 'reactions' }, all.map(([name, users]) => el('span', {}, mrkdwn(`:${name}:`), ` ${users.length}`)));
}

const explain = (code) => (code === 'operation_timeout' ? 'The app did not answer in time' : 'The app could not be reached') + ` (${code}). Nothing is known to have happened.`;

// press presses a button of a message, after its confirm dialog.
async function press(m, block, e, node) {
  if (e.confirm && !(await confirm(e.confirm))) return;
  const key = here.user + m.ts;
  here.trouble.delete(key);
  node.disabled = true;
  node.classList.add('waiting');
  try {
    const answer = await post('/emulator/click', { user: here.user, channel: m.channel, message: m.ts, block: block.block_id, action: e.action_id });
    if (answer.shown) here.trouble.set(key, explain(answer.shown));
  } catch (err) {
    here.trouble.set(key, err.message);
  } finally {
    node.disabled = false;
    node.classList.remove('waiting');
  }
  refresh();
}

async function pressInView(view, block, e) {
  if (e.confirm && !(await confirm(e.confirm))) return;
  try {
    const answer = await post('/emulator/click', { user: here.user, view: view.id, block: block.block_id, action: e.action_id });
    if (answer.shown) notice(explain(answer.shown));
  } catch (err) {
    failed(err);
  }
}

// say sends what stands in a field, as a message or a command.
async function say(field, thread) {
  const said = field.value.trim();
  if (!said) return;
  field.value = '';
  notice('');
  try {
    const answer = await post('/emulator/say', { user: here.user, channel: here.channel, thread, text: said });
    if (answer.shown) notice(`${said.split(' ')[0]} failed with the error “${answer.shown}”`);
  } catch (err) {
    if (!field.value) field.value = said;
    failed(err);
  }
}

byId('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  say(byId('composer-text'), '');
});
byId('thread-composer').addEventListener('submit', (event) => {
  event.preventDefault();
  say(byId('thread-text'), here.thread);
});
byId('thread-close').addEventListener('click', () => go({ thread: '' }));
byId('open-wire').addEventListener('click', () => showWire().catch(failed));
byId('open-faults').addEventListener('click', () => showFaults().catch(failed));
watch(refresh, (up) => {
  document.body.dataset.live = String(up);
  if (!up) notice('The connection to the emulator is broken; trying again…');
  else notice('');
});

// Modals of the app, confirm dialogs, and the page's own two panels.
import { el } from './dom.js';
import { get, post, remove } from './api.js';
import { blocks, text } from './blocks.js';

const byId = (id) => document.getElementById(id);

// confirm asks before a press, as the button's confirm object says.
export function confirm(c) {
  return new Promise((resolve) => {
    const box = byId('confirm');
    const done = (yes) => {
      box.close();
      resolve(yes);
    };
    box.replaceChildren(
      el('h2', { id: 'confirm-title' }, text(c.title)),
      el('div', { class: 'para' }, text(c.text)),
      el('div', { class: 'modal-foot' },
        el('button', { type: 'button', class: 'press', 'data-testid': 'confirm-no', onclick: () => done(false) }, text(c.deny)),
        el('button', { type: 'button', class: `press ${c.style ?? 'primary'}`, 'data-testid': 'confirm-yes', onclick: () => done(true) }, text(c.confirm))));
    box.oncancel = () => resolve(false);
    box.showModal();
  });
}

// showView shows the person's visible modal, or none. What was typed stays
// while the view is the same.
export function showView(view, { user, pressed, failed }) {
  const box = byId('modal');
  if (!view) {
    box.dataset.hash = '';
    if (box.open) box.close();
    return;
  }
  if (box.dataset.hash !== view.id + view.hash) draw(box, view, { user, pressed, failed });
  for (const field of box.querySelectorAll('[data-block]')) {
    const said = view.errors?.[field.dataset.block];
    const line = byId(`${field.id}-error`);
    line.hidden = !said;
    line.textContent = said ?? '';
    field.setAttribute('aria-invalid', String(Boolean(said)));
  }
  if (!box.open) box.showModal();
}

function draw(box, view, { user, pressed, failed }) {
  const b = view.body;
  const leave = () => post('/emulator/close', { user, view: view.id }).catch(failed);
  const trouble = el('p', { class: 'notice', role: 'alert', 'data-testid': 'modal-trouble', hidden: true });
  const form = el('form', {
    novalidate: true,
    onsubmit: async (event) => {
      event.preventDefault();
      trouble.hidden = true;
      const values = {};
      for (const f of form.querySelectorAll('[data-block]')) values[f.dataset.block] = f.value;
      const go = form.querySelector('[data-testid=modal-submit]');
      go.disabled = true;
      try {
        const answer = await post('/emulator/submit', { user, view: view.id, values });
        if (answer.shown) throw new Error(`We had some trouble connecting (${answer.shown}). Try again?`);
      } catch (err) {
        trouble.textContent = err.message;
        trouble.hidden = false;
      } finally {
        go.disabled = false;
      }
    },
  },
  el('header', { class: 'modal-head' },
    el('h2', { id: 'modal-title' }, text(b.title)),
    el('button', { type: 'button', class: 'quiet', 'aria-label': 'Close the form', onclick: leave }, '✕')),
  el('div', { class: 'modal-body' }, blocks(b.blocks, (block, e) => pressed(view, block, e)), trouble),
  el('div', { class: 'modal-foot' },
    el('button', { type: 'button', class: 'press', 'data-testid': 'modal-close', onclick: leave }, b.close ? text(b.close) : 'Cancel'),
    b.submit ? el('button', { type: 'submit', class: 'press primary', 'data-testid': 'modal-submit' }, text(b.submit)) : null));
  box.oncancel = (event) => {
    event.preventDefault();
    leave();
  };
  box.replaceChildren(form);
  box.dataset.hash = view.id + view.hash;
  form.querySelector('[data-block]')?.focus();
}

function panel(title, ...content) {
  const box = byId('panel');
  box.replaceChildren(
    el('header', { class: 'modal-head' }, el('h2', { id: 'panel-title' }, title),
      el('button', { type: 'button', class: 'quiet', 'aria-label': 'Close the panel', onclick: () => box.close() }, '✕')),
    el('div', { class: 'modal-body' }, ...content));
  if (!box.open) box.showModal();
}

const clock = (at) => new Date(at).toLocaleTimeString('en-GB');

// showWire lists what lately went between the app and this workspace.
export async function showWire() {
  const [calls, sent] = await Promise.all([get('/emulator/calls'), get('/emulator/deliveries')]);
  const rows = [
    ...calls.map((c) => ({ at: c.at, way: 'app → chat', what: c.method, how: c.error || 'ok', bad: c.error, more: { args: c.args, reply: c.reply } })),
    ...sent.map((d) => ({ at: d.at, way: 'chat → app', what: d.type, how: d.answer.shown || String(d.answer.status), bad: d.answer.shown, more: { kind: d.kind, socket: d.socket, retry: d.retry } })),
  ].sort((a, b) => b.at.localeCompare(a.at)).slice(0, 100);
  panel('On the wire', rows.length ? null : el('p', { class: 'faint' }, 'Nothing yet.'),
    rows.map((r) => el('details', { class: 'wire' },
      el('summary', {}, el('time', {}, clock(r.at)), el('span', { class: 'way' }, r.way), el('code', {}, r.what), el('span', { class: r.bad ? 'bad' : 'good' }, r.how)),
      el('pre', {}, JSON.stringify(r.more, null, 2)))));
}

const kinds = ['slow', 'lose_answer', 'drop', 'rate_limited', 'rate_limited_bare', 'broken', 'empty_reply', 'empty_reply_done', 'twice'];
const places = ['*', 'chat.postMessage', 'chat.update', 'chat.postEphemeral', 'views.open', 'users.info', 'conversations.history', 'upload', 'hook', 'interactions', 'commands', 'events'];

// showFaults lets a person make the workspace misbehave.
export async function showFaults() {
  const shown = el('div', {});
  const list = (faults) => shown.replaceChildren(
    faults.length ? el('ul', {}, faults.map((f) => el('li', {}, `${f.method}: ${f.kind}` + (f.times ? `, ${f.times} more` : ', until cleared')))) : el('p', { class: 'faint' }, 'All is well.'));
  const choose = (name, options) => el('label', {}, name, el('select', { name: name.toLowerCase() }, options.map((o) => el('option', {}, o))));
  const said = el('p', { class: 'input-error', role: 'alert' });
  const run = async (work) => {
    said.textContent = '';
    try {
      list(await work());
    } catch (err) {
      said.textContent = err.message;
    }
  };
  const form = el('form', {
    class: 'faults',
    onsubmit: (event) => {
      event.preventDefault();
      const f = new FormData(form);
      run(() => post('/emulator/faults', { fault: { method: f.get('where'), kind: f.get('what'), times: Number(f.get('times')), delay: Number(f.get('seconds')) * 1e9 } }));
    },
  },
  choose('Where', places), choose('What', kinds),
  el('label', {}, 'Times', el('input', { name: 'times', type: 'number', min: 0, max: 1000, value: 1 })),
  el('label', {}, 'Seconds', el('input', { name: 'seconds', type: 'number', min: 0, max: 60, value: 1 })),
  el('button', { type: 'submit', class: 'press primary' }, 'Add'),
  el('button', { type: 'button', class: 'press', onclick: () => run(() => remove('/emulator/faults')) }, 'Clear all'));
  panel('Faults', el('p', { class: 'faint' }, 'Tell this workspace what to get wrong. Zero times means until cleared.'), form, said, shown);
  await run(() => get('/emulator/faults'));
}

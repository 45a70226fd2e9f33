// Shows Block Kit: each block as an element. What is pressed goes to act.
import { el, link } from './dom.js';
import { mrkdwn, symbols, symbol, mentions, date } from './mrkdwn.js';

// text shows a text object. Plain text has no markup at all.
export function text(t) {
  if (!t) return [];
  if (t.type === 'mrkdwn') return mrkdwn(t.text);
  return [t.emoji === false ? t.text : symbols(t.text)];
}

const looks = { bold: 'strong', italic: 'em', strike: 's', code: 'code', underline: 'u' };

// dressed puts the styles of a rich text element round its content.
function dressed(style, content) {
  let node = content;
  for (const [name, tag] of Object.entries(looks)) if (style?.[name]) node = el(tag, {}, node);
  return node;
}

function inlineRich(e) {
  switch (e.type) {
    case 'text': return dressed(e.style, e.text);
    case 'link': return dressed(e.style, link(e.url, e.text || e.url));
    case 'emoji': return symbol(e.name, e.unicode);
    case 'user': return mentions.user(e.user_id);
    case 'usergroup': return mentions.group(e.usergroup_id);
    case 'channel': return mentions.channel(e.channel_id);
    case 'broadcast': return mentions.broadcast(e.range);
    case 'date': return date(e.timestamp, e.format, e.fallback);
    case 'color': return e.value;
    default: return el('span', { class: 'dead-link' }, `[${e.type}]`);
  }
}

function richPart(part) {
  const inside = () => part.elements.map(inlineRich);
  switch (part.type) {
    case 'rich_text_section': return el('p', { class: 'rich' }, inside());
    case 'rich_text_preformatted': return el('pre', {}, inside());
    case 'rich_text_quote': return el('blockquote', {}, inside());
    case 'rich_text_list':
      return el(part.style === 'ordered' ? 'ol' : 'ul', { class: `indent-${part.indent ?? 0}` }, part.elements.map((s) => el('li', {}, s.elements.map(inlineRich))));
    default: return null;
  }
}

function button(block, e, act) {
  const name = text(e.text);
  if (e.url && !e.value && !e.action_id) return link(e.url, ...name);
  return el('button', {
    type: 'button',
    class: `press ${e.style ?? ''}`,
    'data-testid': `press-${e.action_id}`,
    'data-action-id': e.action_id,
    'data-block-id': block.block_id,
    'aria-label': e.accessibility_label,
    onclick: (event) => act(block, e, event.currentTarget),
  }, name);
}

function element(block, e, act) {
  switch (e.type) {
    case 'button': return button(block, e, act);
    case 'image': return el('span', { class: 'picture', title: 'Pictures are not loaded here' }, e.alt_text);
    case 'plain_text':
    case 'mrkdwn': return el('span', {}, text(e));
    default: return el('span', { class: 'dead-link' }, `[${e.type} is shown only in the real client]`);
  }
}

const makers = {
  header: (b) => el('h3', { class: 'header' }, text(b.text)),
  divider: () => el('hr'),
  section: (b, act) => el('div', { class: 'section' },
    el('div', { class: 'section-main' },
      b.text ? el('div', { class: 'para' }, text(b.text)) : null,
      b.fields ? el('div', { class: 'fields' }, b.fields.map((f) => el('div', { class: 'para' }, text(f)))) : null),
    b.accessory ? element(b, b.accessory, act) : null),
  context: (b, act) => el('div', { class: 'context' }, b.elements.map((e) => element(b, e, act))),
  actions: (b, act) => el('div', { class: 'actions', role: 'group', 'aria-label': 'Actions' }, b.elements.map((e) => element(b, e, act))),
  rich_text: (b) => el('div', { class: 'rich-text' }, b.elements.map(richPart)),
  markdown: (b) => el('div', { class: 'para' }, b.text),
  image: (b) => el('div', { class: 'picture' }, b.alt_text),
  input: (b) => input(b),
};

// input shows an input block; the form reads its values by data-block.
function input(b) {
  const id = `in-${b.block_id}`;
  const e = b.element;
  const props = { id, 'data-block': b.block_id, 'data-testid': `input-${b.block_id}`, 'aria-describedby': `${id}-error`, required: !b.optional };
  let field;
  if (e.type === 'plain_text_input') {
    const limits = { ...props, maxlength: e.max_length, minlength: e.min_length, placeholder: e.placeholder?.text };
    field = e.multiline ? el('textarea', { ...limits, rows: 4 }, e.initial_value ?? '') : el('input', { ...limits, type: 'text', value: e.initial_value });
  } else {
    const chosen = (e.initial_option ?? e.initial_options?.[0])?.value;
    field = el('select', props, el('option', { value: '' }, e.placeholder?.text ?? 'Choose…'),
      (e.options ?? []).map((o) => el('option', { value: o.value, selected: o.value === chosen }, text(o.text))));
  }
  return el('div', { class: 'input' },
    el('label', { for: id }, text(b.label), b.optional ? el('span', { class: 'faint' }, ' (optional)') : null),
    field,
    b.hint ? el('p', { class: 'faint' }, text(b.hint)) : null,
    el('p', { class: 'input-error', id: `${id}-error`, role: 'alert', hidden: true }));
}

// blocks shows a list of them; act(block, element, node) is called for a press.
export function blocks(list, act) {
  return list.map((b) => el('div', { class: `blk blk-${b.type}`, 'data-block-id': b.block_id },
    makers[b.type] ? makers[b.type](b, act) : el('span', { class: 'dead-link' }, `[${b.type}]`)));
}

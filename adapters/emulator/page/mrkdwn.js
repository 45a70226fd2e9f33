// Shows the platform's own markup, and nothing else, as elements. Markup is
// found before &amp; &lt; &gt; are read, so escaped text never becomes live.
import { el, link } from './dom.js';

const plain = (text) => text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');

const emoji = {
  white_check_mark: '✅', x: '❌', warning: '⚠️', lock: '🔒', key: '🔑', rocket: '🚀', eyes: '👀', hourglass: '⌛',
  no_entry: '⛔', red_circle: '🔴', large_green_circle: '🟢', large_yellow_circle: '🟡', bell: '🔔', memo: '📝', tada: '🎉',
};

// symbols replaces :name: of a few well-known signs.
export const symbols = (text) => text.replace(/:([a-z0-9_+-]+):/g, (all, name) => emoji[name] ?? all);

export const symbol = (name, unicode) => {
  if (unicode) return String.fromCodePoint(...unicode.split('-').map((c) => parseInt(c, 16)));
  return emoji[name] ?? `:${name}:`;
};

// names knows who and what an id stands for; the page sets it.
export const names = { user: (id) => id, channel: (id) => id, group: (id) => id };

const mention = (text, id) => el('span', { class: 'mention', 'data-mention': id }, text);

export const mentions = {
  user: (id) => mention('@' + names.user(id), id),
  group: (id) => mention('@' + names.group(id), id),
  channel: (id) => mention('#' + names.channel(id), id),
  broadcast: (range) => el('span', { class: 'mention loud', 'data-mention': range }, '@' + range),
};

// date shows a point in time as the platform's {date} tokens ask.
export function date(seconds, format, fallback) {
  const at = new Date(Number(seconds) * 1000);
  if (Number.isNaN(at.getTime())) return fallback ?? format;
  const show = (o) => at.toLocaleString('en-GB', o);
  const known = {
    date_num: at.toISOString().slice(0, 10),
    date: show({ day: 'numeric', month: 'long', year: 'numeric' }),
    date_pretty: show({ day: 'numeric', month: 'long', year: 'numeric' }),
    date_short: show({ day: 'numeric', month: 'short', year: 'numeric' }),
    date_short_pretty: show({ day: 'numeric', month: 'short', year: 'numeric' }),
    date_long: show({ weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }),
    date_long_pretty: show({ weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }),
    time: show({ hour: '2-digit', minute: '2-digit' }),
    time_secs: show({ hour: '2-digit', minute: '2-digit', second: '2-digit' }),
    ago: show({ dateStyle: 'medium', timeStyle: 'short' }),
  };
  return el('time', { datetime: at.toISOString(), title: at.toISOString() }, format.replace(/\{([a-z_]+)\}/g, (all, name) => known[name] ?? all));
}

// special shows what stands between < and >.
function special(inner) {
  const bar = inner.indexOf('|');
  const head = bar < 0 ? inner : inner.slice(0, bar);
  const label = bar < 0 ? '' : inner.slice(bar + 1);
  const [first, rest] = [head[0], head.slice(1)];
  if (first === '@') return mentions.user(rest);
  if (first === '#') return mentions.channel(rest);
  if (first === '!') {
    const [word, ...more] = rest.split('^');
    if (word === 'subteam') return mentions.group(more[0]);
    if (word === 'date') return date(more[0], more[1] ?? '', plain(label));
    if (['here', 'channel', 'everyone'].includes(word)) return mentions.broadcast(word);
    return plain(label || rest);
  }
  return link(plain(head), plain(label || head));
}

const styles = { '*': 'strong', _: 'em', '~': 's' };

// inline shows one line.
function inline(text) {
  const out = [];
  const mark = /`([^`\n]+)`|<([^<>\n]+)>|(?<![\w*_~])([*_~])(?=\S)([^\n]*?\S)\3(?![\w])/u;
  let rest = text;
  for (;;) {
    const m = mark.exec(rest);
    if (!m) break;
    if (m.index > 0) out.push(symbols(plain(rest.slice(0, m.index))));
    if (m[1] !== undefined) out.push(el('code', {}, plain(m[1])));
    else if (m[2] !== undefined) out.push(special(m[2]));
    else out.push(el(styles[m[3]], {}, inline(m[4])));
    rest = rest.slice(m.index + m[0].length);
  }
  if (rest) out.push(symbols(plain(rest)));
  return out;
}

// mrkdwn shows a text with markup: preformatted parts, quotes, lines.
export function mrkdwn(text) {
  const out = [];
  text.split(/```/).forEach((part, i, all) => {
    if (i % 2 === 1 && i < all.length - 1) {
      out.push(el('pre', {}, plain(part.replace(/^\n|\n$/g, ''))));
      return;
    }
    const lines = (i % 2 === 1 ? '```' + part : part).split('\n');
    lines.forEach((lineText, n) => {
      const quote = /^(?:&gt;|>) ?(.*)$/.exec(lineText);
      if (quote) out.push(el('blockquote', {}, inline(quote[1])));
      else {
        out.push(...inline(lineText));
        if (n < lines.length - 1) out.push(el('br'));
      }
    });
  });
  return out;
}

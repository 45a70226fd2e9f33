// The one way in which this page makes elements: text goes in as text nodes
// only, so nothing that anybody wrote can become markup.

// el makes an element: el('p', {class: 'x', onclick: f}, 'text', child, …).
// Children that are null or false are left out.
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

// link shows an address that can be followed only if it is one of the web or a
// mail address; any other is text.
export function link(url, ...label) {
  let known = null;
  try {
    known = new URL(url);
  } catch {
    known = null;
  }
  const content = label.length ? label : [url];
  if (!known || !['http:', 'https:', 'mailto:'].includes(known.protocol)) return el('span', { class: 'dead-link' }, ...content);
  return el('a', { href: known.href, target: '_blank', rel: 'noopener noreferrer', title: known.href }, ...content);
}

// sync makes a parent's children those of a list, each with a key and a print:
// a child whose print is unchanged stays as it is, with its focus and scroll.
export function sync(parent, items, make) {
  const old = new Map([...parent.children].map((c) => [c.dataset.key, c]));
  let at = parent.firstElementChild;
  for (const item of items) {
    let node = old.get(item.key);
    if (!node || node.dataset.print !== item.print) {
      const fresh = make(item);
      fresh.dataset.key = item.key;
      fresh.dataset.print = item.print;
      if (node) {
        if (at === node) at = fresh;
        node.replaceWith(fresh);
      }
      node = fresh;
    }
    old.delete(item.key);
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  for (const node of old.values()) node.remove();
}

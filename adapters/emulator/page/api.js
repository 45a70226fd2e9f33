// Talks to the emulator.
async function send(method, path, body) {
  const res = await fetch(path, { method, headers: body ? { 'Content-Type': 'application/json' } : {}, body: body ? JSON.stringify(body) : undefined });
  const raw = await res.text();
  let out = null;
  try {
    out = JSON.parse(raw);
  } catch {
    out = { error: raw.trim() || res.statusText };
  }
  if (!res.ok) throw new Error(out.error ?? res.statusText);
  return out;
}

export const get = (path) => send('GET', path);
export const post = (path, body) => send('POST', path, body);
export const remove = (path) => send('DELETE', path);

// watch calls changed now and whenever something changed, and again after a
// broken connection; state says whether there is one.
export function watch(changed, state) {
  const source = new EventSource('/emulator/changes');
  source.onmessage = changed;
  source.onopen = () => state(true);
  source.onerror = () => state(false);
}

// The cards that Countersign draws, as its golden files hold them, against the
// platform vendor's own types: by the compiler, and by a schema made of them
// with the documented lengths. Each check is first shown to catch a fault.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';
import { here } from './emulator.mjs';

const golden = join(here, '../../../adapters/slack/testdata');
const scratch = join(here, '.cards');

// load reads every golden file below testdata: cards, and views by their name.
function load() {
  const dirs = ['cards', 'views'].map((d) => join(golden, d)).filter((d) => existsSync(d));
  const files = dirs.flatMap((d) => readdirSync(d).filter((f) => f.endsWith('.json')).map((f) => join(d, f)));
  return files.map((path) => ({ path, name: path.slice(golden.length + 1), view: path.endsWith('.view.json'), content: JSON.parse(readFileSync(path, 'utf8')) }));
}

const files = load();
const clone = (v) => JSON.parse(JSON.stringify(v));

before(() => mkdirSync(scratch, { recursive: true }));
after(() => rmSync(scratch, { recursive: true, force: true }));

test('there are cards to check', () => {
  assert.ok(files.some((f) => !f.view), `no cards in ${golden}/cards`);
});

// compile returns what the compiler says of contents typed as the vendor's.
function compile(name, list) {
  const lines = ["import type { KnownBlock, ModalView } from '@slack/types';"];
  list.forEach(({ view, content }, i) => {
    lines.push(view ? `export const v${i}: ModalView = ${JSON.stringify(content)};` : `export const c${i}: KnownBlock[] = ${JSON.stringify(content.blocks)};`);
  });
  const path = join(scratch, name);
  writeFileSync(path, lines.join('\n') + '\n');
  const args = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--moduleResolution', 'nodenext', '--target', 'es2022', path];
  try {
    execFileSync(process.execPath, [join(here, 'node_modules/typescript/bin/tsc'), ...args], { cwd: here, encoding: 'utf8' });
    return '';
  } catch (err) {
    return err.stdout;
  }
}

const sample = { blocks: [{ type: 'header', text: { type: 'plain_text', text: 'x' } }, { type: 'actions', elements: [{ type: 'button', text: { type: 'plain_text', text: 'x' }, style: 'primary' }] }] };

test('the compiler accepts them', () => {
  const faults = {
    'mrkdwn in a header': (c) => (c.blocks[0].text.type = 'mrkdwn'),
    'a misspelt member': (c) => (c.blocks[0].block_ID = 'x'),
    'a bad style': (c) => (c.blocks[1].elements[0].style = 'loud'),
    'a button without text': (c) => delete c.blocks[1].elements[0].text,
  };
  const bad = Object.values(faults).map((make) => {
    const content = clone(sample);
    make(content);
    return { content };
  });
  const said = compile('bad.check.ts', [{ content: sample }, ...bad]); // line 2 is good, one bad one stands in each line below
  assert.ok(!said.includes('bad.check.ts(2,'), `the compiler refuses what is right: ${said}`);
  Object.keys(faults).forEach((what, i) => assert.ok(said.includes(`bad.check.ts(${i + 3},`), `the compiler does not see ${what}: ${said}`));
  assert.equal(compile('cards.check.ts', files), '');
});

// promote turns the lengths that the types only tell in words into rules.
function promote(schema) {
  let rules = 0;
  const visit = (node) => {
    if (Array.isArray(node)) return node.forEach(visit);
    if (!node || typeof node !== 'object') return;
    for (const prop of Object.values(node.properties ?? {})) {
      const said = prop.description ?? '';
      const length = /maximum length (?:for (?:this field|the `?text`? (?:in|within) this field) )?is (\d+) characters/i.exec(said);
      const count = /maximum number of (?:items|options|option groups) is (\d+)|maximum of (\d+) (?:elements|items|options)/i.exec(said);
      if (length) {
        rules++;
        if (prop.type === 'string') prop.maxLength = Number(length[1]);
        else prop.allOf = [...(prop.allOf ?? []), { properties: { text: { type: 'string', maxLength: Number(length[1]) } } }];
      }
      if (count && prop.type === 'array') {
        rules++;
        prop.maxItems = Number(count[1] ?? count[2]);
      }
    }
    Object.values(node).forEach(visit);
  };
  visit(schema);
  return rules;
}

function validator(type) {
  const schema = createGenerator({ path: join(here, 'roots.ts'), tsconfig: join(here, 'tsconfig.json'), type, skipTypeCheck: true, topRef: true }).createSchema(type);
  assert.ok(promote(schema) >= 20, 'the types tell lengths in other words than before');
  return new Ajv({ strict: false, allErrors: false }).compile(schema);
}

test('a schema of the types accepts them', () => {
  const message = validator('SlackMessageBlocks');
  const view = validator('SlackView');
  assert.ok(message(sample), JSON.stringify(message.errors?.slice(0, 3)));
  const long = (n) => 'x'.repeat(n);
  for (const [what, [edge, beyond]] of Object.entries({
    'a long header': [150, 151].map((n) => (c) => (c.blocks[0].text.text = long(n))),
    'a long button': [75, 76].map((n) => (c) => (c.blocks[1].elements[0].text.text = long(n))),
    'a long value': [2000, 2001].map((n) => (c) => (c.blocks[1].elements[0].value = long(n))),
    'a long action_id': [255, 256].map((n) => (c) => (c.blocks[1].elements[0].action_id = long(n))),
    'a long section': [3000, 3001].map((n) => (c) => c.blocks.push({ type: 'section', text: { type: 'plain_text', text: long(n) } })),
    'many fields': [10, 11].map((n) => (c) => c.blocks.push({ type: 'section', fields: Array(n).fill({ type: 'plain_text', text: 'x' }) })),
  })) {
    const [good, bad] = [clone(sample), clone(sample)];
    edge(good);
    beyond(bad);
    assert.ok(message(good), `the schema refuses what is allowed: ${what}`);
    assert.ok(!message(bad), `the schema does not see ${what}`);
  }
  for (const f of files) {
    const check = f.view ? view : message;
    assert.ok(check(f.content), `${f.name}: ${JSON.stringify(check.errors?.slice(-3))}`);
  }
});

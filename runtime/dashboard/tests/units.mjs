// What needs no browser: how numbers are written, and what a spreadsheet gets. Usage: node tests/units.mjs

import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { built } from './built.mjs';

process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));
process.env.TZ = 'Asia/Kathmandu';
const format = await built('src/format.ts');
const use = await built('src/use.ts');
const { events } = await built('src/events.ts');

/** Every [what is written, of what]. */
function all(written, cases) {
  for (const [text, ...of] of cases) assert.equal(written(...of).replaceAll('\u202f', ' '), text, JSON.stringify(of));
}

test('three digits, whatever the size', () => {
  all(format.digits, [
    ['0', 0],
    ['0', -0],
    ['1.00', 1],
    ['9.99', 9.994],
    ['10.0', 9.996],
    ['99.9', 99.94],
    ['100', 99.96],
    ['999', 999.4],
    ['1000', 999.6],
    ['12 345', 12345],
    ['1 234 568', 1234567.8],
    ['0.00424', 0.004237],
    ['\u22120.500', -0.5],
    ['\u22121000', -1000],
  ]);
});

test('units change where their digits do', () => {
  all(format.bytes, [
    ['0 B', 0],
    ['999 B', 999],
    ['1.00 kB', 1000],
    ['1.00 MB', 999_999],
    ['98.4 MB', 98_362_432],
    ['2.50 TB', 2.5e12],
    ['1500 TB', 1.5e15],
  ]);
  all(format.seconds, [
    ['0 s', 0],
    ['44.1 ms', 0.0441],
    ['1.00 s', 0.9999],
    ['119 s', 119],
    ['2.00 min', 120],
    ['2.00 h', 7200],
    ['\u22122.00 min', -120],
  ]);
  all(format.gbHours, [
    ['0 GB·h', 0],
    ['360 MB·s', 1e-4],
    ['0.100 GB·h', 0.1],
    ['\u22123.60 GB·s', -0.001],
    ['1 000 000 GB·h', 1e6],
  ]);
  all(format.joules, [
    ['0 J', 0],
    ['186 mJ', 0.186],
    ['3.60 MJ', 3.6e6],
    ['\u221244.4 mJ', -0.0444],
  ]);
  all(format.grams, [
    ['0 g CO₂e', 0],
    ['337 µg CO₂e', 0.000337],
    ['1.20 kg CO₂e', 1200],
  ]);
});

test('money is never nothing where it is something, and a missing price is no 0', () => {
  all(format.money, [
    ['no price', null, 'USD'],
    ['0 USD', 0, 'USD'],
    ['351 nUSD', 3.51e-7, 'USD'],
    ['\u221220.2 µUSD', -20.2e-6, 'USD'],
    ['0.0120 EUR', 0.012, 'EUR'],
    ['1 234 567 USD', 1_234_567, 'USD'],
  ]);
  assert.equal(format.exact(0.004237), '0.004237');
  assert.equal(format.exact(0.1 + 0.2), '0.3');
});

test('shares', () => {
  all(format.percent, [
    ['–', null],
    ['0 %', 0],
    ['<0.1 %', 1e-5],
    ['\u2212<0.1 %', -1e-5],
    ['0.1 %', 0.0005],
    ['9.9 %', 0.0994],
    ['10 %', 0.0996],
    ['100 %', 1],
    ['\u22121576 %', -15.76],
  ]);
});

test('budgets are told in what they are in', () => {
  all(format.amount, [
    ['400 tokens', 400, 'tokens'],
    ['36.0 GB·s', 0.01, 'GBh'],
    ['500 J', 500, 'J'],
    ['20.0 g CO₂e', 20, 'gCO2e'],
    ['0.500 USD', 0.5, 'USD'],
  ]);
});

test('time that goes by', () => {
  all(format.clock, [
    ['0:00', -3],
    ['0:59', 59.9],
    ['4:09', 249],
    ['1:02:33', 3753],
  ]);
  all(format.span, [
    ['0 s', 0.4],
    ['119 s', 119],
    ['2 min', 120],
    ['11 min', 684],
    ['2 h', 7200],
    ['2 d', 173_000],
  ]);
  all(format.ago, [
    ['now', 1.9],
    ['2 s ago', 2],
  ]);
});

test('a moment is of the zone of who looks, and has its day where that is another', () => {
  const now = Date.UTC(2026, 10, 28, 18, 30);
  assert.match(format.moment(now - 1000, now), /00:14:59/);
  assert.doesNotMatch(format.moment(now - 1000, now), /2[89]/, 'it is today there');
  assert.match(format.moment(now - 20 * 60_000, now), /28.*23:55:00|23:55:00.*28/);
});

const total = (tenant, model, figures) => ({
  tenant,
  model,
  requests: 0,
  completed: 0,
  cold: 0,
  prompt_tokens: 0,
  cached_tokens: 0,
  completion_tokens: 0,
  cpu_ns: 0,
  weights_kib_ms: 0,
  load_kib_ms: 0,
  kv_kib_ms: 0,
  energy_nj: 0,
  micrograms_co2e: 0,
  pico_units: 0,
  unpriced: 0,
  ...figures,
});
const kept = (tenant, model, kib_ms) => ({
  account: 'keepalive',
  tenant,
  model,
  kib_ms,
  energy_nj: 5,
  micrograms_co2e: 3,
  pico_units: 2e12,
});

test('what was kept stands with whom it was kept for, asked or not', () => {
  const requests = [total('b', 'm', { requests: 2, pico_units: 1e12 }), total('a', 'm', { requests: 1 })];
  const accounts = [kept('b', 'm', 7), kept('c', 'm', 1), { ...kept(undefined, 'm', 9), account: 'idle' }];
  const rows = use.rowsOf({ requests, accounts, left_out: 0 });
  assert.deepEqual(
    rows.map((row) => [row.tenant, row.requests, row.kept_kib_ms]),
    [
      ['a', 1, 0],
      ['b', 2, 7],
      ['c', 0, 1],
    ],
  );
  const sum = use.added(rows);
  assert.deepEqual([sum.requests, sum.pico_units, sum.kept_pico_units, sum.kept_energy_nj], [3, 1e12, 4e12, 10]);
});

test('a spreadsheet gets figures, and no formula', () => {
  const rows = use.rowsOf({ requests: [total('=1+1', 'a,"b"', { requests: 3, pico_units: 5e11 })], accounts: [], left_out: 0 });
  const [names, row, end] = use.csv(rows, 'USD').split('\r\n');
  const columns = names.split(',');
  assert.equal(end, '');
  assert.ok(row.startsWith(`'=1+1,"a,""b""",3,`), row);
  const values = row.replace('"a,""b"""', 'model').split(',');
  assert.equal(values.length, columns.length);
  assert.deepEqual([values[columns.indexOf('cost')], values[columns.indexOf('currency')]], ['0.5', 'USD']);
});

test('events are whole, wherever the stream was cut', async () => {
  const sent = new TextEncoder().encode('data: {"a":"é≈"}\n\n: alive\n\ndata: [DONE]\n\ndata: cut off');
  for (const size of [1, 2, 7, sent.length]) {
    const parts = Array.from({ length: Math.ceil(sent.length / size) }, (_, place) => sent.slice(place * size, (place + 1) * size));
    const heard = [];
    for await (const data of events(ReadableStream.from(parts))) heard.push(data);
    assert.deepEqual(heard, ['{"a":"é≈"}', null, '[DONE]'], `${size} bytes at a time`);
  }
});

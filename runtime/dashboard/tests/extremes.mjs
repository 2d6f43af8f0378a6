// What no test has the time to bring about, told to the page as the server would: hundreds of requests, sums of years,
// names and losses of any size, one who gave no price.

import assert from 'node:assert/strict';
import { check, go, isWithin, open, textsOf } from './browser.mjs';

const ROWS_MAX = 500;
const DAY_MS = 86_400_000;

/** What the server tells who begins to follow, by its name. */
async function told(address) {
  const leaving = new AbortController();
  const response = await fetch(`${address}/v1/live`, { signal: leaving.signal });
  const events = {};
  let text = '';
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    for (const block of text.split('\n\n').slice(0, -1)) {
      if (!block.startsWith('data: ')) continue;
      const { event, data } = JSON.parse(block.slice('data: '.length));
      events[event] = data;
    }
    if (events.savings && events.tenants) break;
  }
  leaving.abort();
  return events;
}

function exaggerated({ hello, pool, receipts, tenants, savings }) {
  const [model, ...others] = pool.data;
  const status = { value: 'loading', state: 'loading', progress: { value: 0.4, current: 'weights' } };
  const busy = { status: { value: 'loaded', state: 'resident' }, leases: 1280, waiting_requests: 99, pinned: true };
  const evictions = Array.from({ length: 200 }, (_, place) => ({
    device: 'cpu',
    model: model.id,
    bytes: 1e9 * place,
    cause: `memory for model ${'m'.repeat(90)}`,
    idle_seconds: place ** 3,
    seconds_ago: place ** 3,
  }));
  const [like] = receipts.data;
  const many = Array.from({ length: ROWS_MAX + 100 }, (_, place) => ({
    ...like,
    id: `cmpl-${place}`,
    began_unix_ms: hello.now_unix_ms - (place * DAY_MS) / 100,
    model: place % 3 ? like.model : 'm'.repeat(200),
    outcome: place % 7 ? 'completed' : 'cancelled',
    tokens: { prompt: 1_234_567, cached: 1_000_000, completion: 98_765, total: 1_333_332 },
    times: { ...like.times, decode_ns: place ? like.times.decode_ns : 7e12, wall_ns: place ? like.times.wall_ns : 7.2e12 },
    cost: place % 5 ? 12_345.678 : null,
  }));
  const years = tenants.today.requests.map((row) =>
    Object.fromEntries(Object.entries(row).map(([name, value]) => [name, typeof value === 'number' ? Math.trunc(value * 1e6) : value])),
  );
  return [
    ['hello', hello],
    ['pool', { ...pool, models_left_out: 1204, evictions, data: [{ ...model, ...busy }, ...others.map((one) => ({ ...one, status }))] }],
    ['receipts', { first: true, data: many.slice(ROWS_MAX).reverse() }],
    ['receipts', { first: false, data: many.slice(0, ROWS_MAX).reverse() }],
    ['missed', { receipts: 7 }],
    ['tenants', { ...tenants, today: { ...tenants.today, requests: years, left_out: 12 } }],
    ['savings', savings],
  ];
}

export async function extremes(browser, address, screenshots) {
  const events = exaggerated(await told(address));
  const body = events.map(([event, data]) => `data: ${JSON.stringify({ event, data })}\n\n`).join('');
  for (const [name, width] of [
    ['wide', 1280],
    ['phone', 320],
  ]) {
    const { page, faults, close } = await open(browser, 'about:blank', { viewport: { width, height: 740 } });
    let asked = 0;
    // The first is told it all, and nothing after that.
    await page.route('**/v1/live', (route) => (asked++ ? undefined : route.fulfill({ contentType: 'text/event-stream', body })));
    await page.goto(address);
    await page.locator('.model').first().waitFor();
    for (const view of ['pool', 'tenants', 'requests']) {
      await go(page, view);
      await isWithin(page, `${view}, ${name}`);
      await check(page, `extreme-${view}-${name}`, screenshots);
    }
    assert.equal(await page.locator('button.request').count(), ROWS_MAX);
    await page.getByText('Some came faster than they could be told').waitFor();
    assert.deepEqual((await textsOf(page.locator('button.request .cost'))).slice(0, 2), ['no price', '12 346 USD']);
    assert.equal(await page.locator('.request .outcome', { hasText: 'cancelled' }).count(), Math.ceil(ROWS_MAX / 7));
    assert.deepEqual(
      faults.filter((fault) => !fault.startsWith('it asks')),
      [],
    );
    await close();
  }
}

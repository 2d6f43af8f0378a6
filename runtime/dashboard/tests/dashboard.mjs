// The dashboard in a real browser, beside a real server with real models: every view with live data and the server's own
// figures, keyboard, both themes, a phone's width, axe, keys that come and go, and a server that goes and comes.
// Usage: node tests/dashboard.mjs DAYFLY [FOLDER FOR SCREENSHOTS]

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const [dayfly, screenshots] = process.argv.slice(2).map((path) => resolve(path));
assert(dayfly, 'usage: node tests/dashboard.mjs DAYFLY [FOLDER FOR SCREENSHOTS]');
if (screenshots) mkdirSync(screenshots, { recursive: true });
process.chdir(dirname(dirname(fileURLToPath(import.meta.url))));
const { check: checkFor, go, isWithin, launch, open, plain } = await import('./browser.mjs');
const { poolAgrees, requestsAgree, savingsAgree, tenantsAgree } = await import('./agreement.mjs');
const { extremes } = await import('./extremes.mjs');
const { LONG, Server } = await import('./server.mjs');

const VIEWS = ['pool', 'savings', 'tenants', 'requests', 'ask'];
const check = (page, name) => checkFor(page, name, screenshots);

async function playground(page) {
  await go(page, 'ask');
  await page.getByLabel('Model').selectOption('first');
  await page.getByLabel('Tokens at most').fill('16');
  await page.getByLabel('Prompt').focus();
  await page.keyboard.press('Control+Enter');
  await page.getByRole('heading', { name: 'What that took' }).waitFor();
  const id = await page.locator('.playground .receipt .id code').innerText();
  assert.match(id, /^chatcmpl-/);
  const answer = await page.locator('.answer').innerText();
  assert(answer.length > 0);
  await check(page, 'answered-light');
  await go(page, 'pool');
  await go(page, 'ask');
  assert.equal(await page.locator('.answer').innerText(), answer, 'who looks elsewhere finds it again');
  return id;
}

async function pool(page) {
  await go(page, 'pool');
  const model = page.locator('.model', { hasText: 'first' });
  await model.locator('.lamp.idle').waitFor();
  const left = () => model.locator('dd').nth(2).innerText();
  const before = await left();
  await page.waitForFunction((shown) => !document.body.innerText.includes(shown), before);
  assert.match(await left(), /^\d+:\d\d$/, 'it counts down');
  const pin = model.getByRole('button', { name: 'Pin first' });
  await pin.click();
  await model.locator('[aria-pressed=true]').waitFor();
  assert.equal(await left(), 'stays');
  assert(await model.getByRole('button', { name: 'Evict first' }).isDisabled(), 'who is pinned is not evicted');
  await pin.click();
  await model.locator('[aria-pressed=false]').waitFor();
  await model.getByRole('button', { name: 'Evict first' }).focus();
  await page.keyboard.press('Enter');
  await model.getByRole('button', { name: 'Load first' }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.ariaLabel), 'Load first', 'the keyboard stays there');
  await page.locator('table tbody tr', { hasText: 'requested' }).first().waitFor();
  await page.keyboard.press('Enter');
  await model.getByRole('button', { name: 'Evict first' }).waitFor();
}

/** What fails is told, by what it is and why, and nothing else is lost. */
async function failures(page, faults) {
  await go(page, 'pool');
  await page.getByRole('button', { name: 'Load broken' }).click();
  await page.getByRole('alert').filter({ hasText: 'broken: ' }).waitFor();
  await page.locator('.model', { hasText: 'broken' }).locator('.lamp.failed').waitFor();
  await check(page, 'failed-light');
  await go(page, 'ask');
  await page.getByLabel('Model').selectOption('broken');
  await page.getByRole('button', { name: 'Ask', exact: true }).click();
  await page.locator('.playground').getByRole('alert').waitFor();
  await check(page, 'refused-light');
  // The browser notes what the server refuses.
  assert.deepEqual(
    faults.splice(0).filter((fault) => !/status of (400|503)/.test(fault)),
    [],
  );
}

async function requests(page, id) {
  await go(page, 'requests');
  const rows = page.locator('button.request');
  await page.waitForFunction(() => document.querySelectorAll('button.request').length >= 5);
  assert((await rows.locator('.tag.cold').count()) >= 2 && (await rows.locator('.tag.warm').count()) >= 1);
  const own = rows.last();
  await own.focus();
  await page.keyboard.press('Enter');
  await page.locator('dialog[open] .receipt .id').waitFor();
  assert.equal(await page.locator('dialog .id code').innerText(), id, 'the first request is the last row');
  await check(page, 'receipt-light');
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
  await own.click();
  await page.locator('dialog[open] .receipt').waitFor();
  await page.mouse.click(5, 400);
  await page.locator('dialog').waitFor({ state: 'detached' });
  await page.getByLabel('Only').fill(`cold ${id.slice(-12)}`);
  await page.waitForFunction(() => document.querySelectorAll('button.request').length === 1);
  await page.getByLabel('Only').fill('no such one');
  await page.getByText('None of them is such a one.').waitFor();
  await page.getByLabel('Only').fill('');
  await page.waitForFunction(() => document.querySelectorAll('button.request').length >= 5);
}

async function curves(page) {
  await go(page, 'savings');
  await page.waitForFunction(() =>
    / ([2-9]|\d\d+) points;/.test(document.querySelector('.chart [role=img]')?.getAttribute('aria-label') ?? ''),
  );
  assert.equal(await page.locator('.chart canvas').count(), 4);
  await page.locator('.compared .modelled').first().waitFor();
  const plot = page.locator('.chart .u-over').first();
  const { width } = await plot.boundingBox();
  await plot.hover({ position: { x: width - 2, y: 40 } });
  const read = plain(await page.locator('.read-out').first().innerText());
  assert.match(read, /^\d\d:\d\d:\d\d · \S+ \S+ · \S+ \S+$/, 'a moment and both figures');
  await page.getByText('The same as a table').click();
  const last = plain(await page.locator('.inputs .wide tbody tr').last().innerText());
  assert.equal(last.split(' ').slice(0, 5).join(' '), read.replaceAll(' · ', ' '));
  await check(page, 'table-light');
}

async function tenants(page, rows) {
  assert.equal(await page.getByRole('meter').count(), 3);
  assert(
    (await page.getByRole('meter', { name: /^anonymous, all keys: 100000 tokens/ }).getAttribute('aria-valuenow')) > 0,
    'tokens were spent',
  );
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download CSV' }).click()]);
  const lines = readFileSync(await download.path(), 'utf8')
    .trim()
    .split('\r\n');
  assert.match(lines[0], /^tenant,model,requests,/);
  const [cost] = [lines[0].split(',').indexOf('cost')];
  assert.deepEqual(
    lines.slice(1).map((line) => [line.split(',')[1], line.split(',')[cost]]),
    rows.map((row) => [row.model, String(row.pico_units / 1e12)]),
  );
}

async function keyboard(page) {
  await go(page, 'pool');
  await page.reload();
  await page.locator('.model').first().waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement?.className), 'skip');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'main');
}

async function looks(browser, address) {
  for (const theme of ['light', 'dark']) {
    const { page, faults, close } = await open(browser, address, { colorScheme: theme, reducedMotion: 'reduce' });
    for (const view of VIEWS) {
      await go(page, view);
      await page.locator('main h2:visible').first().waitFor();
      await check(page, `${view}-${theme}`);
    }
    assert.deepEqual(faults, []);
    await close();
  }
  for (const [name, width] of [
    ['phone', 320],
    ['tablet', 768],
  ]) {
    const { page, close } = await open(browser, address, { viewport: { width, height: 740 } });
    for (const view of VIEWS) {
      await go(page, view);
      await page.locator('main h2:visible').first().waitFor();
      await isWithin(page, `${view}, ${name}`);
      await check(page, `${view}-${name}`);
    }
    await page.getByLabel('Theme').selectOption('dark');
    await page.reload();
    await page.locator('main h2:visible').first().waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark', 'what was chosen stays');
    await close();
  }
}

/** Figures from before are told as such, and are live again by themselves. */
async function restart(page, faults, server) {
  await go(page, 'pool');
  await server.stop();
  await page.getByText('The server is not heard').waitFor();
  await page.locator('.model').first().waitFor();
  await check(page, 'stale-light');
  await page.getByRole('button', { name: 'Load first' }).click();
  await page.getByRole('alert').filter({ hasText: 'cannot be reached' }).waitFor();
  await server.start();
  await page.getByText('The server is not heard').waitFor({ state: 'detached' });
  await page.getByRole('status').filter({ hasText: 'live' }).waitFor();
  await go(page, 'requests');
  await page.waitForFunction(() => document.querySelectorAll('button.request').length >= 5);
  assert.deepEqual(
    faults.splice(0).filter((fault) => !/net::ERR_/.test(fault)),
    [],
  );
}

async function signIn(page, key) {
  await page.getByLabel('Key').fill(key);
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Sign out' }).waitFor();
}

async function keys(browser, server) {
  const { address } = server;
  const reader = server.createKey('--tenant', 'reader');
  const { page, faults, close } = await open(browser, address);
  await page.getByLabel('Key').waitFor();
  assert.deepEqual(faults, [], 'that a key is needed is no error');
  await page.getByLabel('Key').fill('sk-wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  await check(page, 'sign-in-light');
  assert.equal(faults.splice(0).length, 1, 'a wrong key is one');
  await signIn(page, reader.key);
  await page.locator('.model').first().waitFor();
  assert.equal(await page.locator('.model button').count(), 0, 'who does not administer is offered no changes');
  await go(page, 'requests');
  await page.getByText('None was settled yet').waitFor();
  assert(!(await page.locator('body').innerText()).includes('anonymous'), 'it sees its own figures alone');
  await playground(page);
  await go(page, 'requests');
  await page.waitForFunction(() => document.querySelectorAll('button.request').length === 1);
  await go(page, 'savings');
  await page.getByText('Against copies of your own').waitFor();
  await check(page, 'own-savings-light');
  assert.equal(await page.evaluate(() => document.cookie), '', 'no script reads the cookie');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByText('You have signed out.').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('name')), 'key', 'a key is what comes next');
  assert.deepEqual(faults, []);
  await bounds(page, server, faults);
  await close();
}

/** A key that may read alone, one whose budget is spent, and one that is revoked while its figures are shown. */
async function bounds(page, server, faults) {
  const watcher = server.createKey('--tenant', 'watcher', '--scope', 'read');
  await signIn(page, watcher.key);
  await go(page, 'ask');
  await page.getByText('Asking needs one with the scope inference').waitFor();
  assert(await page.getByRole('button', { name: 'Ask', exact: true }).isDisabled());
  await page.getByRole('button', { name: 'Sign out' }).click();
  const poor = server.createKey('--tenant', 'poor', '--scope', 'read', '--scope', 'inference');
  await signIn(page, poor.key);
  await playground(page);
  await page.getByLabel('Tokens at most').fill('64');
  await page.getByRole('button', { name: 'Ask', exact: true }).click();
  await page.locator('.playground').getByRole('alert').waitFor();
  assert.deepEqual(
    faults.splice(0).filter((fault) => !/status of 429/.test(fault)),
    [],
  );
  await go(page, 'tenants');
  const meter = page.getByRole('meter', { name: /^poor/ });
  await page.waitForFunction(() => Number(document.querySelector('[role=meter]')?.ariaValueNow) > 0);
  const [used, limit] = [await meter.getAttribute('aria-valuenow'), await meter.getAttribute('aria-valuemax')];
  assert(Number(used) > 0 && Number(used) <= Number(limit) && limit === '40', `${used} of ${limit}`);
  await check(page, 'budget-light');
  server.revokeKey(poor.id);
  await page.getByText('You are not signed in any more').waitFor();
  assert(!(await page.locator('main').innerText()).includes('poor'), 'what it saw is gone');
  assert.deepEqual(faults, []);
}

const server = new Server(dayfly);
await server.start();
const browser = await launch();
try {
  const { address } = server;
  const { page, faults, close } = await open(browser, address);
  const id = await playground(page);
  await server.complete('first', 60);
  await server.complete(LONG, 20);
  await server.complete(LONG, 120);
  await server.complete('first', 8);
  await requests(page, id);
  await pool(page);
  await curves(page);
  await poolAgrees(page, server);
  await requestsAgree(page, server);
  await savingsAgree(page);
  await tenants(page, await tenantsAgree(page, server));
  await keyboard(page);
  assert.deepEqual(faults, []);
  await failures(page, faults);
  await looks(browser, address);
  await extremes(browser, address, screenshots);
  await restart(page, faults, server);
  await close();
  await keys(browser, server);
  console.log('every view is live, exact, operable and accessible');
} finally {
  await browser.close();
  server.remove();
}

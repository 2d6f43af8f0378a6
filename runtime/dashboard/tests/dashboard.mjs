// The dashboard in a real browser, beside a real server with a real model: every view with live data, keyboard, both themes,
// a phone's width, and axe. Usage: node tests/dashboard.mjs DAYFLY [FOLDER FOR SCREENSHOTS]

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [dayfly, screenshots] = process.argv.slice(2);
assert(dayfly, 'usage: node tests/dashboard.mjs DAYFLY [FOLDER FOR SCREENSHOTS]');
if (screenshots) mkdirSync(screenshots, { recursive: true });

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const VIEWS = ['pool', 'savings', 'tenants', 'requests', 'ask'];
const PATIENCE_MS = 30_000;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const folder = mkdtempSync(join(tmpdir(), 'dayfly-dashboard-'));
const environment = { ...process.env, XDG_STATE_HOME: join(folder, 'state'), XDG_CONFIG_HOME: join(folder, 'config') };
const ledger = join(folder, 'ledger.sqlite');

/** Two models of the same file, and room for one and its sequences. */
function models() {
  const pulled = JSON.parse(execFileSync(dayfly, ['pull', 'smollm2', '--json'], { encoding: 'utf8' }));
  const dir = join(folder, 'models');
  mkdirSync(dir);
  for (const name of ['first', 'second']) {
    const path = join(dir, `${name}.gguf`);
    try {
      linkSync(pulled.path, path);
    } catch {
      copyFileSync(pulled.path, path);
    }
  }
  return dir;
}

async function serve(dir) {
  const config = join(folder, 'dayfly.toml');
  writeFileSync(config, '[tenants.anonymous]\nbudgets = ["100000 tokens/day", "1 USD/month"]\n');
  const flags = ['serve', '--config', config, '--no-pull', '--listen', '127.0.0.1:0', '--memory-budget', '160MB', '--ledger', ledger, '--models-dir', dir];
  const child = spawn(dayfly, flags, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr.resume();
  for await (const line of createInterface({ input: child.stdout })) {
    const address = /http:\/\/[0-9.:]+/.exec(line);
    if (address) return { child, address: address[0] };
  }
  throw new Error('the server told no address');
}

/** Asks without the page, so that there is something to see. */
async function ask(address, model, words) {
  const body = { model, prompt: 'A mayfly '.repeat(words), max_tokens: 24 };
  const response = await fetch(`${address}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200);
  return response.json();
}

async function open(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const faults = [];
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => {
    // A status that the page has to find out by asking is no fault of it.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) faults.push(message.text());
  });
  page.on('request', (request) => {
    if (!/^(blob:|data:)/.test(request.url()) && !request.url().startsWith(address)) faults.push(`it asks ${request.url()}`);
  });
  await page.goto(address);
  return { page, faults, close: () => context.close() };
}

async function go(page, view) {
  await page.locator(`nav a[href="#${view}"]`).click();
  await page.locator(`nav a[href="#${view}"][aria-current=page]`).waitFor();
}

async function check(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const bad = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const told = bad.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} (${node.failureSummary})`).join('; ')}`);
  assert.deepEqual(told, [], name);
  if (screenshots) await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
}

async function isWithin(page, name) {
  const [width, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert(width <= seen, `${name} is ${width} wide and not ${seen}`);
}

async function playground(page) {
  await go(page, 'ask');
  await page.getByLabel('Model').selectOption('first');
  await page.getByLabel('Tokens at most').fill('16');
  await page.getByRole('button', { name: 'Ask', exact: true }).click();
  await page.getByRole('heading', { name: 'What that took' }).waitFor();
  const id = await page.locator('.receipt .id code').innerText();
  assert.match(id, /^chatcmpl-/);
  assert((await page.locator('.answer').innerText()).length > 0);
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
  await model.getByRole('button', { name: 'Evict first' }).click();
  await model.getByRole('button', { name: 'Load first' }).waitFor();
  await page.locator('table tbody tr', { hasText: 'requested' }).first().waitFor();
  await model.getByRole('button', { name: 'Load first' }).click();
  await model.getByRole('button', { name: 'Evict first' }).waitFor();
}

async function requests(page, id) {
  await go(page, 'requests');
  const rows = page.locator('.request');
  await page.waitForFunction(() => document.querySelectorAll('.request').length >= 5);
  assert((await rows.locator('.tag.cold').count()) >= 2 && (await rows.locator('.tag.warm').count()) >= 1);
  const own = rows.last();
  await own.focus();
  await page.keyboard.press('Enter');
  await page.locator('dialog[open] .receipt .id').waitFor();
  assert.equal(await page.locator('dialog .id code').innerText(), id, 'the first request is the last row');
  await check(page, 'receipt-light');
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
}

async function savings(page) {
  await go(page, 'savings');
  await page.waitForFunction(() => document.querySelectorAll('.chart canvas').length === 4);
  await page.locator('.compared .modelled').first().waitFor();
  await page.waitForFunction(() => / ([2-9]|\d\d+) points;/.test(document.querySelector('.chart [role=img]')?.getAttribute('aria-label') ?? ''));
  await page.getByText('Formula and inputs').click();
  assert.match(await page.locator('.inputs').innerText(), /saved = baseline − ephemeral/);
  await page.getByLabel('24 h').check();
  await page.locator('.baseline').first().waitFor();
  await page.getByLabel('this run').check();
  // What the page shows is what the route says.
  const shown = await page.locator('#by-tenant ~ div tbody tr').count();
  assert.equal(shown, 1);
}

async function tenants(page) {
  await go(page, 'tenants');
  await page.locator('.used tr.sum', { hasText: 'anonymous' }).waitFor();
  assert.equal(await page.locator('.budgets meter').count(), 2);
  assert((await page.locator('.budgets meter').first().getAttribute('value')) > 0, 'tokens were spent');
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download CSV' }).click()]);
  const lines = readFileSync(await download.path(), 'utf8').trim().split('\r\n');
  assert.match(lines[0], /^tenant,model,requests,/);
  assert.deepEqual(lines.slice(1).map((line) => line.split(',').slice(0, 2).join()), ['anonymous,first', 'anonymous,second']);
}

async function keyboard(page) {
  await page.reload();
  await page.locator('.model').first().waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement?.className), 'skip');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'main');
}

async function looks(browser, address) {
  for (const theme of ['light', 'dark']) {
    const { page, faults, close } = await open(browser, address, { colorScheme: theme });
    for (const view of VIEWS) {
      await go(page, view);
      await page.locator('main h2').first().waitFor();
      await check(page, `${view}-${theme}`);
    }
    assert.deepEqual(faults, []);
    await close();
  }
  const { page, close } = await open(browser, address, { viewport: { width: 360, height: 740 } });
  for (const view of VIEWS) {
    await go(page, view);
    await page.locator('main h2').first().waitFor();
    await isWithin(page, view);
    await check(page, `${view}-phone`);
  }
  await page.getByLabel('Theme').selectOption('dark');
  await page.reload();
  await page.locator('main h2').first().waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark', 'what was chosen stays');
  await close();
}

async function keys(browser, address) {
  const create = (...flags) => {
    const printed = execFileSync(dayfly, ['key', 'create', '--json', '--ledger', ledger, ...flags], { encoding: 'utf8', env: environment });
    return JSON.parse(printed).key;
  };
  const reader = create('--tenant', 'reader');
  const { page, faults, close } = await open(browser, address);
  await page.getByLabel('Key').fill('sk-wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  await check(page, 'sign-in-light');
  await page.getByLabel('Key').fill(reader);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.model').first().waitFor();
  assert.equal(await page.locator('.model button').count(), 0, 'who does not administer is offered no changes');
  await go(page, 'requests');
  await page.getByText('None was settled yet').waitFor();
  assert(!(await page.locator('body').innerText()).includes('anonymous'), 'it sees its own figures alone');
  await playground(page);
  await go(page, 'requests');
  await page.waitForFunction(() => document.querySelectorAll('.request').length === 1);
  assert.equal(await page.evaluate(() => document.cookie), '', 'no script reads the cookie');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Key').waitFor();
  assert.deepEqual(faults, []);
  await close();
}

const server = await serve(models());
const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
try {
  const { address } = server;
  const { page, faults, close } = await open(browser, address);
  const id = await playground(page);
  await ask(address, 'first', 60);
  await ask(address, 'second', 20);
  await ask(address, 'second', 120);
  await ask(address, 'first', 8);
  await requests(page, id);
  await pool(page);
  await savings(page);
  await tenants(page);
  await go(page, 'pool');
  await keyboard(page);
  assert.deepEqual(faults, []);
  await close();
  await looks(browser, address);
  await keys(browser, address);
  console.log('every view is live, operable and accessible');
} finally {
  await browser.close();
  server.child.kill();
  rmSync(folder, { recursive: true, force: true });
}

// A browser that notes what a page does that it should not.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const PATIENCE_MS = 30_000;
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export function launch() {
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}

/** The page, what went wrong in it (errors of its own, warnings, requests elsewhere), and its end. */
export async function open(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const faults = [];
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && faults.push(message.text()));
  page.on('request', (request) => {
    if (!/^(blob:|data:)/.test(request.url()) && !request.url().startsWith(address)) faults.push(`it asks ${request.url()}`);
  });
  await page.goto(address);
  return { page, faults, close: () => context.close() };
}

export async function go(page, view) {
  await page.locator(`nav a[href="#${view}"]`).click();
  await page.locator(`nav a[href="#${view}"][aria-current=page]`).waitFor();
}

/** axe finds nothing at all; what it found it in is drawn, where someone wants to see it. */
export async function check(page, name, folder) {
  await page.evaluate(axe);
  const options = { runOnly: RULES, resultTypes: ['violations'] };
  const { violations } = await page.evaluate((chosen) => globalThis.axe.run(document, chosen), options);
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} (${node.failureSummary})`).join('; ')}`);
  assert.deepEqual(told, [], name);
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

export async function isWithin(page, name) {
  const [width, seen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert(width <= seen, `${name} is ${width} wide and not ${seen}`);
}

/** What is seen, blanks alike. */
export async function textsOf(locator) {
  return (await locator.allInnerTexts()).map(plain);
}

export function plain(text) {
  return text.replaceAll(/\s+/g, ' ').trim();
}

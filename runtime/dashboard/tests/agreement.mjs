// Every number on the page is the one of the route that it comes from: each view beside what the server answers when asked.

import assert from 'node:assert/strict';
import { go, plain, textsOf } from './browser.mjs';
import { built } from './built.mjs';

const { bytes, count, exact, gbHours, gbHoursOf, grams, joules, money, nanos, percent, seconds } = await built('src/format.ts');
const { added, heldByRequests, rowsOf } = await built('src/use.ts');
const TRIES_MAX = 20;
const modelled = (text) => `modelled ${text}`;
const all = (texts) => texts.map(plain);

/** With nothing in memory nothing moves. */
export async function poolAgrees(page, server) {
  await go(page, 'pool');
  for (const { id, status } of (await server.ask('/models')).data) {
    if (status.value === 'loaded') await server.ask('/models/unload', { model: id });
  }
  await page.waitForFunction(() => !document.querySelector('.model:not(.unloaded)'));
  const { data, memory } = await server.ask('/models');
  assert.deepEqual(
    await textsOf(page.locator('.memory .reading .figure')),
    all([bytes(memory.used_bytes), bytes(memory.limit_bytes), percent(memory.used_bytes / memory.limit_bytes)]),
  );
  const legend = [
    memory.weights_bytes,
    memory.used_bytes - memory.weights_bytes - memory.prefix_cache.bytes,
    memory.prefix_cache.bytes,
    memory.limit_bytes - memory.used_bytes,
  ];
  assert.deepEqual(await textsOf(page.locator('.memory .legend .figure')), all(legend.map(bytes)));
  const facts = (await textsOf(page.locator('.memory .facts dd'))).join('; ');
  for (const figure of [`${bytes(memory.headers.bytes)} of ${memory.headers.count},`, `; ${bytes(memory.pinned_bytes)};`]) {
    assert(facts.includes(plain(figure)), `${figure}: ${facts}`);
  }
  for (const { id, size_bytes, leases = 0, last_load_seconds = null } of data) {
    const shown = await textsOf(page.locator('.model', { hasText: id }).locator('dd'));
    const lasted = last_load_seconds === null ? '–' : seconds(last_load_seconds);
    assert.deepEqual(shown.slice(0, 3), all([`${bytes(size_bytes)} file`, count(leases), '–']), id);
    assert(shown[3].startsWith(plain(lasted)), `${id}: ${shown[3]} is not ${lasted}`);
  }
}

/** Each row, and one's receipt. */
export async function requestsAgree(page, server) {
  await go(page, 'requests');
  const rows = page.locator('button.request');
  for (let place = 0; place < (await rows.count()); place += 1) {
    const row = rows.nth(place);
    await row.click();
    const id = await page.locator('dialog .receipt .id code').innerText();
    const receipt = await server.ask(`/v1/usage/${id}`);
    const { tokens, times, cost } = receipt;
    const [began] = await row.locator('time').evaluateAll((found) => found.map((time) => Date.parse(time.dateTime)));
    assert(began <= Date.now() && began > Date.now() - 3_600_000, `${began}`);
    assert.equal(plain(await row.locator('.wall').innerText()), plain(nanos(times.wall_ns)), id);
    assert.equal(plain(await row.locator('.cost').innerText()), plain(money(cost.amount, cost.currency)), id);
    assert(plain(await row.locator('.tokens').innerText()).startsWith(`${tokens.prompt} → ${tokens.completion} tokens`), id);
    assert.equal(await row.locator('.tag').innerText(), receipt.cold ? 'cold' : 'warm', id);
    await receiptAgrees(page.locator('dialog .receipt'), receipt);
    await page.keyboard.press('Escape');
    await page.locator('dialog').waitFor({ state: 'detached' });
    assert(await row.evaluate((button) => button === document.activeElement), 'the keyboard is where it was');
  }
}

async function receiptAgrees(shown, { tokens, cpu, memory, energy, carbon, cost, times }) {
  const figures = await textsOf(shown.locator('dd > .figure'));
  assert.deepEqual(
    figures,
    all([
      count(tokens.prompt),
      count(tokens.completion),
      nanos(cpu.total_ns),
      gbHours(memory.byte_seconds / 3.6e12),
      modelled(joules(energy.joules)),
      modelled(grams(carbon.grams_co2e)),
      money(cost.amount, cost.currency),
    ]),
  );
  const parts = (await textsOf(shown.locator('dd > small'))).join('\n');
  const [priced] = cost.parts;
  for (const part of [
    `prefill ${nanos(cpu.prefill_ns)}, decode ${nanos(cpu.decode_ns)}, load ${nanos(cpu.load_ns)}`,
    `weights ${gbHours(gbHoursOf(memory.weights_kib_ms))} of ${bytes(memory.weights_bytes)}`,
    `memory held ${modelled(joules(energy.residency_nj / 1e9))}`,
    `at ${exact(carbon.intensity_grams_per_kwh)} g/kWh`,
    `${priced.resource.replaceAll('_', ' ')} ${money(priced.pico_units / 1e12, cost.currency)}`,
  ]) {
    assert(parts.includes(plain(part)), `${part}: ${parts}`);
  }
  const legend = [times.queue_ns, times.load_wait_ns, times.prefill_ns, times.decode_ns, times.stall_ns, times.other_ns];
  assert.deepEqual(await textsOf(shown.locator('.legend .figure')), all(legend.filter((nanos) => nanos > 0).map(nanos)));
}

/** The report that the page was given when it asked for a day's, which it does again and again. */
export async function savingsAgree(page) {
  await go(page, 'savings');
  const reports = [];
  page.on('response', (response) => response.url().endsWith('/v1/savings?since=24h') && reports.push(response));
  const asked = page.waitForResponse('**/v1/savings?since=24h');
  await page.getByLabel('24 h').check();
  await asked;
  await page.getByText('Formula and inputs').click();
  for (let tries = 1; ; tries += 1) {
    try {
      return await reportAgrees(page, await reports.at(-1).json());
    } catch (disagreement) {
      // Another one may have come meanwhile, and not be shown yet.
      if (tries === TRIES_MAX) throw disagreement;
      await page.waitForTimeout(100);
    }
  }
}

async function reportAgrees(page, { total, currency, cold_starts, tenants, money: told }) {
  await page.locator('.baseline').first().waitFor();
  for (const [place, { baseline, saved, judged }] of [total.shared_persistent, total.dedicated].entries()) {
    const shown = page.locator('.baseline').nth(place);
    assert.deepEqual(await textsOf(shown.locator('.reading .figure')), all([gbHours(saved.gb_hours), `(${percent(saved.memory_share)})`]));
    assert.deepEqual(
      await textsOf(shown.locator('.compared .figure')),
      all([
        gbHours(baseline.gb_hours),
        gbHours(total.ephemeral.gb_hours),
        money(saved.cost, currency),
        modelled(joules(saved.attributional_joules)),
        modelled(joules(saved.marginal_joules)),
      ]),
    );
    const verdict = judged.verdict.replaceAll('_', ' ');
    assert(plain(await shown.locator('.verdict').innerText()).endsWith(verdict), verdict);
    // A loss is told as one, with what it is from and what helps.
    assert.equal(await shown.locator('.remedy').count(), judged.verdict === 'loss' ? 1 : 0);
    assert.equal(await shown.locator('.reading .figure.loss').count(), saved.gb_hours < 0 ? 1 : 0);
  }
  const facts = await textsOf(page.locator('#price ~ dl dd'));
  assert.deepEqual(facts.slice(0, 2), all([count(cold_starts.requests), nanos(cold_starts.waited_ns)]));
  const known = [told.nominal, told.capacity].flatMap((tier) => [tier.saved_shared_persistent, tier.saved_dedicated]);
  const realised = `assumed ${money(told.realised.saved, currency)}`;
  assert.deepEqual(
    await textsOf(page.locator('.tiers td.number')),
    all([...known.map((saved) => money(saved, currency)), realised, realised]),
  );
  const inputs = plain(await page.locator('.inputs').first().innerText());
  assert.match(inputs, /saved = baseline − ephemeral/);
  const held = Object.values(total.held).filter((value) => typeof value === 'number');
  for (const figure of held.map((kib_ms) => gbHours(gbHoursOf(kib_ms)))) assert(inputs.includes(plain(figure)), `${figure}: ${inputs}`);
  const rows = await textsOf(page.locator('.by-tenant tbody tr'));
  assert.equal(rows.length, tenants.length);
  for (const [place, one] of tenants.entries()) {
    const row = rows[place];
    const figures = [one.ephemeral, one.shared_persistent.saved, one.dedicated.saved].map(({ gb_hours }) => plain(gbHours(gb_hours)));
    assert(row.startsWith(one.tenant ?? 'nobody') && figures.every((figure) => row.includes(figure)), `${figures}: ${row}`);
  }
}

/** The sums of 30 days. What is held is charged as it goes: there is nothing in memory, so that it does not. */
export async function tenantsAgree(page, server) {
  await go(page, 'tenants');
  await page.getByLabel('30 days').check();
  const { data } = await server.ask('/v1/usage');
  const merged = { requests: data.flatMap((day) => day.requests), accounts: data.flatMap((day) => day.accounts), left_out: 0 };
  assert.equal(data.length, 1, 'a day is whole: the test began before midnight');
  const rows = rowsOf(merged);
  const { currency } = await server.ask('/v1/savings');
  const cells = (row) =>
    all([
      count(row.requests),
      count(row.cold),
      count(row.prompt_tokens),
      count(row.cached_tokens),
      count(row.completion_tokens),
      nanos(row.cpu_ns),
      gbHours(heldByRequests(row)),
      modelled(joules(row.energy_nj / 1e9)),
      modelled(grams(row.micrograms_co2e / 1e6)),
      money(row.pico_units / 1e12, currency),
      gbHours(gbHoursOf(row.kept_kib_ms)),
      money(row.kept_pico_units / 1e12, currency),
    ]);
  await page.waitForFunction(
    ([expected]) =>
      [...document.querySelectorAll('.by-model .sum')].some(
        (row) => [...row.querySelectorAll('td')].map((cell) => cell.innerText.replaceAll(/\s+/g, ' ').trim()).join() === expected,
      ),
    [cells(added(rows)).join()],
  );
  for (const row of rows) {
    assert.deepEqual(await textsOf(page.locator('.by-model .of-model', { hasText: row.model }).locator('td')), cells(row), row.model);
  }
  return rows;
}

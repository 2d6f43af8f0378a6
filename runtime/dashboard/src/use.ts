// What tenants used, in rows that a table or a spreadsheet shows.

import { gbHoursOf } from './format';
import type { Sums, Total } from './wire';

/** What was kept for a tenant after its requests, of which theirs has nothing. */
interface Kept {
  kept_kib_ms: number;
  kept_energy_nj: number;
  kept_micrograms_co2e: number;
  kept_pico_units: number;
}

export type Row = Total & Kept;

const NOTHING_KEPT: Kept = { kept_kib_ms: 0, kept_energy_nj: 0, kept_micrograms_co2e: 0, kept_pico_units: 0 };

const NOTHING: Row = {
  tenant: '',
  model: '',
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
  ...NOTHING_KEPT,
};

/** Requests and what was kept for their tenant afterwards, by tenant and model. */
export function rowsOf(sums: Sums): Row[] {
  const rows = new Map<string, Row>();
  const key = (tenant: string, model: string) => JSON.stringify([tenant, model]);
  for (const total of sums.requests) rows.set(key(total.tenant, total.model), { ...total, ...NOTHING_KEPT });
  for (const { account, tenant, model, ...kept } of sums.accounts) {
    if (account !== 'keepalive' || tenant === undefined) continue;
    const row = rows.get(key(tenant, model)) ?? { ...NOTHING, tenant, model };
    rows.set(key(tenant, model), {
      ...row,
      kept_kib_ms: row.kept_kib_ms + kept.kib_ms,
      kept_energy_nj: row.kept_energy_nj + kept.energy_nj,
      kept_micrograms_co2e: row.kept_micrograms_co2e + kept.micrograms_co2e,
      kept_pico_units: row.kept_pico_units + kept.pico_units,
    });
  }
  return [...rows.values()].sort((one, other) => one.tenant.localeCompare(other.tenant) || one.model.localeCompare(other.model));
}

export function added(rows: Row[]): Row {
  const sum = { ...NOTHING };
  for (const row of rows) {
    for (const name of Object.keys(NOTHING) as (keyof Row)[]) {
      if (name !== 'tenant' && name !== 'model') sum[name] += row[name];
    }
  }
  return sum;
}

export function heldByRequests(row: Row): number {
  return gbHoursOf(row.weights_kib_ms + row.load_kib_ms + row.kv_kib_ms);
}

const COLUMNS: readonly [string, (row: Row, currency: string) => string | number][] = [
  ['tenant', (row) => row.tenant],
  ['model', (row) => row.model],
  ['requests', (row) => row.requests],
  ['completed', (row) => row.completed],
  ['cold', (row) => row.cold],
  ['prompt_tokens', (row) => row.prompt_tokens],
  ['cached_tokens', (row) => row.cached_tokens],
  ['completion_tokens', (row) => row.completion_tokens],
  ['processor_seconds_measured', (row) => row.cpu_ns / 1e9],
  ['memory_gb_hours_derived', heldByRequests],
  ['energy_joules', (row) => row.energy_nj / 1e9],
  ['carbon_grams_modelled', (row) => row.micrograms_co2e / 1e6],
  ['cost', (row) => row.pico_units / 1e12],
  ['currency', (_, currency) => currency],
  ['requests_without_price', (row) => row.unpriced],
  ['kept_after_gb_hours_derived', (row) => gbHoursOf(row.kept_kib_ms)],
  ['kept_after_energy_joules', (row) => row.kept_energy_nj / 1e9],
  ['kept_after_carbon_grams_modelled', (row) => row.kept_micrograms_co2e / 1e6],
  ['kept_after_cost', (row) => row.kept_pico_units / 1e12],
];

/** As RFC 4180 has it, a line of names first. */
export function csv(rows: Row[], currency: string): string {
  const lines = [COLUMNS.map(([name]) => name), ...rows.map((row) => COLUMNS.map(([, value]) => cell(value(row, currency))))];
  return lines.map((line) => `${line.join(',')}\r\n`).join('');
}

/** A text that a spreadsheet would take for a formula is none. */
function cell(value: string | number): string {
  const text = typeof value === 'string' && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

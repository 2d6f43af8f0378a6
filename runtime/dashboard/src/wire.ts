// What the server sends: the parts that this page shows.

export type Quality = 'measured' | 'derived' | 'modelled' | 'assumed';

export interface Who {
  tenant: string | null;
  scopes: string[];
  signed_in: boolean;
}

export interface Hello {
  tenant: string;
  scopes: string[];
  signed_in: boolean;
  version: string;
}

export interface Model {
  id: string;
  status: { value: 'loaded' | 'loading' | 'unloading' | 'unloaded'; state?: string; progress?: { value: number; current: string } | null };
  size_bytes: number;
  device?: string;
  weights_bytes?: number;
  pinned?: boolean;
  paged?: boolean;
  gives_way_for?: string | null;
  leases?: number;
  waiting_requests?: number;
  expires_in_seconds?: number | null;
  loads?: number;
  last_load_seconds?: number | null;
  last_load_source?: { label: string; cached_bytes: number | null; major_faults: number | null } | null;
  quarantined_for_seconds?: number | null;
}

export interface Device {
  id: string;
  kind: string;
  memory: { limit_bytes: number; used_bytes: number; weights_bytes: number; pinned_bytes: number };
  waiting_requests: number;
  queued_requests: number;
}

export interface Eviction {
  device: string;
  model: string;
  bytes: number;
  cause: string;
  idle_seconds: number;
  seconds_ago: number;
}

export interface Pool {
  data: Model[];
  models_left_out: number;
  memory: {
    limit_bytes: number;
    used_bytes: number;
    weights_bytes: number;
    pinned_bytes: number;
    prefix_cache: { bytes: number; unused_bytes: number; pages: number };
    headers: { count: number; bytes: number };
    response_cache: { answers: number; bytes: number };
    waiting_requests: number;
  };
  devices: Device[];
  evictions: Eviction[];
}

export interface Times {
  queue_ns: number;
  load_wait_ns: number;
  prefill_ns: number;
  decode_ns: number;
  stall_ns: number;
  other_ns: number;
  wall_ns: number;
}

export interface Tokens {
  prompt: number;
  cached: number;
  completion: number;
  total: number;
}

export interface Brief {
  id: string;
  tenant: string;
  model: string;
  began_unix_ms: number;
  outcome: string;
  cold: boolean;
  answered_from: string;
  tokens: Tokens;
  times: Times;
  cpu_ns: number;
  byte_seconds: number;
  joules: number;
  energy_quality: Quality;
  relative_uncertainty: number;
  cost: number | null;
  currency: string;
}

export interface Receipt {
  id: string;
  tenant: string;
  model: string;
  outcome: string | null;
  state?: string;
  cold: boolean;
  tokens: Tokens & { drafted?: number; accepted_draft?: number };
  times: Times & { quality: Quality };
  cpu: { prefill_ns: number; decode_ns: number; load_ns: number; total_ns: number; quality: Quality };
  memory: {
    weights_kib_ms: number;
    load_kib_ms: number;
    kv_kib_ms: number;
    byte_seconds: number;
    weights_bytes: number;
    quality: Quality;
  };
  energy: {
    joules: number;
    active_nj: number;
    load_nj: number;
    residency_nj: number;
    source: string;
    quality: Quality;
    scope: string;
    relative_uncertainty: number;
  };
  carbon: { grams_co2e: number; intensity_grams_per_kwh: number; intensity_source: string; pue: number; quality: Quality };
  cost: {
    amount: number | null;
    currency: string;
    rate_card: string;
    parts: { resource: string; pico_units: number }[];
    missing: string[];
  };
  method: { answered_from: string; notes: string[] };
}

export interface Arm {
  gb_hours: number;
  quality: Quality;
  load_cpu_ns: number;
  joules: number;
  energy_quality: Quality;
  cost: number | null;
}

export interface Comparison {
  baseline: Arm;
  saved: {
    gb_hours: number;
    memory_share: number | null;
    cost: number | null;
    attributional_joules: number;
    marginal_joules: number;
  };
  judged: { verdict: 'saving' | 'no_significant_difference' | 'loss'; by: string; cause: string | null; remedy: string | null };
}

export interface Arms {
  ephemeral: Arm;
  held: Record<
    'active_kib_ms' | 'keepalive_kib_ms' | 'pinned_kib_ms' | 'load_kib_ms' | 'idle_kib_ms' | 'pages_kib_ms' | 'process_kib_ms',
    number
  >;
  shared_persistent: Comparison;
  dedicated: Comparison;
}

export interface MachineChoice {
  /** None where none is large enough. */
  machine: string | null;
}

export interface Money {
  currency: string;
  nominal: { rate_card: string; saved_shared_persistent: number | null; saved_dedicated: number | null; quality: Quality };
  /** None where no machines are configured. */
  capacity:
    | (Record<'ephemeral' | 'shared_persistent' | 'dedicated', MachineChoice> & {
        source: string;
        hours: number;
        saved_shared_persistent: number | null;
        saved_dedicated: number | null;
        quality: Quality;
      })
    | null;
  realised: { per_hour: number; saved: number; quality: Quality };
}

/** Of everyone, or (with `tenant`) of one tenant, which is told of copies of its own alone. */
export interface SavingsReport {
  tenant?: string;
  window_ms: number;
  process_bytes?: number;
  page_cache?: { bytes: number; shared_memory_share: number | null; dedicated_memory_share: number | null } | null;
  currency: string;
  rate_card: string;
  energy_source: string;
  energy_relative_uncertainty: number;
  total?: Arms;
  ephemeral?: Arm;
  held?: Arms['held'];
  dedicated?: Comparison;
  tenants?: (Arms & { tenant: string | null })[];
  cold_starts: {
    requests: number;
    waited_ns: number;
    waits: { requests: number; p50_ns: number; p95_ns: number; p99_ns: number };
    break_even_per_second: number | null;
  };
  money?: Money;
  notes: string[];
}

export type Curve = Record<'gb_hours' | 'attributional_joules' | 'marginal_joules' | 'cost', (number | null)[]>;

export interface Savings {
  /** None of a tenant's, which asks for its own. */
  report: SavingsReport | null;
  prices: { currency: string; cpu_hour: number | null; memory_gb_hour: number | null; kilowatt_hour: number | null };
  points: { unix_ms: number[]; shared: Curve | null; dedicated: Curve };
}

export interface Total {
  tenant: string;
  model: string;
  requests: number;
  completed: number;
  cold: number;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  cpu_ns: number;
  weights_kib_ms: number;
  load_kib_ms: number;
  kv_kib_ms: number;
  energy_nj: number;
  micrograms_co2e: number;
  pico_units: number;
  unpriced: number;
}

export interface AccountTotal {
  model: string;
  account: string;
  tenant?: string;
  kib_ms: number;
  energy_nj: number;
  micrograms_co2e: number;
  pico_units: number;
}

export interface Sums {
  requests: Total[];
  accounts: AccountTotal[];
  left_out: number;
}

export interface Budget {
  tenant: string;
  key: string | null;
  budget: string;
  unit: string;
  limit: number;
  used: number;
  reserved: number;
  anew_in_seconds: number;
}

export interface Tenants {
  today: Sums;
  days_30: Sums;
  budgets: Budget[];
}

// Numbers as people read them: three digits, a unit, a real minus, and never more than is known.

const MINUS = '\u2212';
const NARROW = '\u202f';

/** Three significant digits, thousands apart, no exponent. */
export function digits(value: number): string {
  const size = Math.abs(value);
  return fixed(value, size === 0 || size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

function fixed(value: number, fraction: number): string {
  const text = Math.abs(value).toFixed(fraction);
  const [whole = '', rest] = text.split('.');
  const grouped = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, NARROW) : whole;
  const sign = value < 0 && Number(text) !== 0 ? MINUS : '';
  return sign + grouped + (rest === undefined ? '' : `.${rest}`);
}

/** Whole. */
export function count(value: number): string {
  return fixed(value, 0);
}

function scaled(value: number, unit: string, steps: readonly (readonly [number, string])[]): string {
  const size = Math.abs(value);
  const [factor, prefix] = steps.find(([least]) => size >= least) ?? steps[steps.length - 1] ?? [1, ''];
  return `${digits(value / factor)}${NARROW}${prefix}${unit}`;
}

const UP = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [1, '']] as const;
const DOWN = [[1e6, 'M'], [1e3, 'k'], [1, ''], [1e-3, 'm'], [1e-6, 'µ'], [1e-9, 'n']] as const;

export function bytes(value: number): string {
  return scaled(value, 'B', UP);
}

/** Zero has no prefix. */
function small(value: number, unit: string): string {
  return value === 0 ? `0${NARROW}${unit}` : scaled(value, unit, DOWN);
}

export function joules(value: number): string {
  return small(value, 'J');
}

export function grams(value: number): string {
  return `${small(value, 'g')}CO₂e`;
}

/** Memory held over time, in GB·h; what is less than a tenth of one in seconds, as the command line has it. */
export function gbHours(value: number): string {
  if (value === 0 || Math.abs(value) >= 0.1) return `${digits(value)}${NARROW}GB·h`;
  return scaled(value * 3.6e12, 'B·s', UP);
}

export function money(value: number | null, currency: string): string {
  if (value === null) return 'no price';
  const size = Math.abs(value);
  if (value === 0 || size >= 0.01) return `${digits(value)}${NARROW}${currency}`;
  return small(value, currency);
}

/** So much of what a budget is in. */
export function amount(value: number, unit: string): string {
  switch (unit) {
    case 'tokens':
      return count(value);
    case 'GBh':
      return gbHours(value);
    case 'J':
      return joules(value);
    case 'gCO2e':
      return grams(value);
    default:
      return money(value, unit);
  }
}

export function seconds(value: number): string {
  const size = Math.abs(value);
  if (size >= 7200) return `${digits(value / 3600)}${NARROW}h`;
  if (size >= 120) return `${digits(value / 60)}${NARROW}min`;
  return small(value, 's');
}

export function nanos(value: number): string {
  return seconds(value / 1e9);
}

export function percent(share: number | null): string {
  return share === null ? '–' : `${fixed(share * 100, Math.abs(share) < 0.1 ? 1 : 0)}${NARROW}%`;
}

/** A countdown: 4:09, 1:02:33. */
export function clock(value: number): string {
  const whole = Math.max(0, Math.floor(value));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (part: number) => String(part).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

export function ago(value: number): string {
  if (value < 2) return 'now';
  if (value < 120) return `${Math.floor(value)}${NARROW}s ago`;
  if (value < 7200) return `${Math.floor(value / 60)}${NARROW}min ago`;
  if (value < 172_800) return `${Math.floor(value / 3600)}${NARROW}h ago`;
  return `${Math.floor(value / 86_400)}${NARROW}d ago`;
}

export function timeOfDay(unixMs: number): string {
  return new Date(unixMs).toLocaleTimeString([], { hour12: false });
}

const KIB_MILLIS_PER_GB_HOUR = 3_515_625_000_000;

export function gbHoursOf(kibMillis: number): number {
  return kibMillis / KIB_MILLIS_PER_GB_HOUR;
}

// Numbers as people read them: three digits, a unit, a real minus, and never more than is known.

const MINUS = '\u2212';
const NARROW = '\u202f';

/** Three significant digits, thousands apart, no exponent. */
export function digits(value: number): string {
  const size = rounded(Math.abs(value));
  if (size === 0 || size >= 100) return fixed(value, 0);
  return fixed(value, Math.min(9, 2 - Math.floor(Math.log10(size))));
}

/** What three digits of it are: it decides on the unit, so that there are no 1000 kB. */
function rounded(size: number): number {
  return size < 1000 ? Number(size.toPrecision(3)) : size;
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

/** As it was configured: all of its digits, and none that only a binary fraction has. */
export function exact(value: number): string {
  return String(Number(value.toPrecision(12)));
}

type Steps = readonly (readonly [number, string])[];

function scaled(value: number, unit: string, steps: Steps): string {
  const size = Math.abs(value);
  const [factor, prefix] = steps.find(([least]) => rounded(size / least) >= 1) ?? steps[steps.length - 1] ?? [1, ''];
  return `${digits(value / factor)}${NARROW}${prefix}${unit}`;
}

const UP: Steps = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
  [1, ''],
];
const DOWN: Steps = [
  [1e6, 'M'],
  [1e3, 'k'],
  [1, ''],
  [1e-3, 'm'],
  [1e-6, 'µ'],
  [1e-9, 'n'],
];

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
  return `${small(value, 'g')}${NARROW}CO₂e`;
}

/** Memory held over time, in GB·h; what is less than a tenth of one in seconds, as the command line has it. */
export function gbHours(value: number): string {
  if (value === 0 || Math.abs(value) >= 0.1) return `${digits(value)}${NARROW}GB·h`;
  return scaled(value * 3.6e12, 'B·s', UP);
}

/** From a hundredth of a unit up whole units. */
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
      return `${count(value)} tokens`;
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
  const size = rounded(Math.abs(value));
  if (size >= 7200) return `${digits(value / 3600)}${NARROW}h`;
  if (size >= 120) return `${digits(value / 60)}${NARROW}min`;
  return small(value, 's');
}

export function nanos(value: number): string {
  return seconds(value / 1e9);
}

/** Whole, or with a tenth where it is less than ten; what is not nothing is not shown as that. */
export function percent(share: number | null): string {
  if (share === null) return '–';
  const size = Math.abs(share);
  if (size > 0 && size < 0.0005) return `${share < 0 ? MINUS : ''}<0.1${NARROW}%`;
  return `${fixed(share * 100, size < 0.0995 && size > 0 ? 1 : 0)}${NARROW}%`;
}

/** A countdown: 4:09, 1:02:33. */
export function clock(value: number): string {
  const whole = Math.max(0, Math.floor(value));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (part: number) => String(part).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** How long something still lasts, or has been: one whole number. */
export function span(value: number): string {
  if (value < 120) return `${Math.floor(value)}${NARROW}s`;
  if (value < 7200) return `${Math.floor(value / 60)}${NARROW}min`;
  if (value < 172_800) return `${Math.floor(value / 3600)}${NARROW}h`;
  return `${Math.floor(value / 86_400)}${NARROW}d`;
}

export function ago(value: number): string {
  return value < 2 ? 'now' : `${span(value)} ago`;
}

/** By this browser's clock and zone: the time, and the day where that is not `now`'s. */
export function moment(unixMs: number, now: number): string {
  const [then, today] = [new Date(unixMs), new Date(now)];
  const time = then.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
  if (then.toDateString() === today.toDateString()) return time;
  return `${then.toLocaleDateString([], { day: 'numeric', month: 'short' })} ${time}`;
}

const KIB_MILLIS_PER_GB_HOUR = 3_515_625_000_000;

export function gbHoursOf(kibMillis: number): number {
  return kibMillis / KIB_MILLIS_PER_GB_HOUR;
}

// Small parts that several views are made of.

import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { nanos, percent } from './format';
import type { Quality, Times } from './wire';

const MEANINGS: Record<Quality, string> = {
  measured: 'measured: read from a clock, a counter or the kernel',
  derived: 'derived: computed exactly from measured figures',
  modelled: 'modelled: the output of a model with measured inputs',
  assumed: 'assumed: taken for granted',
};

interface FigureProps {
  children: ComponentChildren;
  quality: Quality;
  /** ± this share. */
  uncertainty?: number;
  tone?: 'loss' | 'saving' | undefined;
}

/** A number with how it was come by: modelled ones have a ≈ and a dotted line. */
export function Figure({ children, quality, uncertainty, tone }: FigureProps) {
  const isModelled = quality === 'modelled' || quality === 'assumed';
  const range = uncertainty === undefined ? '' : `, ±${percent(uncertainty)}`;
  return (
    <span class={`figure ${isModelled ? 'modelled' : ''} ${tone ?? ''}`} title={MEANINGS[quality] + range}>
      {isModelled && <span class="unseen">{quality} </span>}
      {children}
    </span>
  );
}

export function QualityKey() {
  return (
    <p class="quality-key">
      <span class="figure">1.23</span> measured or derived from what was measured <span class="figure modelled">1.23</span> modelled
    </p>
  );
}

/** Milliseconds since 1970, anew each second. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** For whoever has no element left to be at. */
export function focusMain(): void {
  document.getElementById('main')?.focus();
}

export interface Part {
  name: string;
  kind: string;
  size: number;
  shown: string;
}

/** Parts of a whole, to scale, with their figures below. */
export function Bar({ label, parts, whole }: { label: string; parts: Part[]; whole: number }) {
  const there = parts.filter((part) => part.size > 0);
  const said = there.map((part) => `${part.name} ${part.shown}`);
  return (
    <div class="bar" role="img" aria-label={`${label}: ${said.join(', ') || 'nothing'}`}>
      {there.map((part) => (
        <span
          key={part.name}
          class={`part ${part.kind}`}
          style={{ width: `${whole > 0 ? (100 * part.size) / whole : 0}%` }}
          title={`${part.name}: ${part.shown}`}
        />
      ))}
    </div>
  );
}

export function Legend({ parts }: { parts: Part[] }) {
  return (
    <ul class="legend">
      {parts.map((part) => (
        <li key={part.name}>
          <span class={`swatch ${part.kind}`} aria-hidden="true" />
          {part.name} <span class="figure">{part.shown}</span>
        </li>
      ))}
    </ul>
  );
}

const PHASES: readonly [keyof Times, string, string][] = [
  ['queue_ns', 'queue', 'queue'],
  ['load_wait_ns', 'load', 'load'],
  ['prefill_ns', 'prefill', 'prefill'],
  ['decode_ns', 'decode', 'decode'],
  ['stall_ns', 'client', 'stall'],
  ['other_ns', 'other', 'other'],
];

export function phases(times: Times): Part[] {
  return PHASES.map(([key, name, kind]) => ({ name, kind, size: times[key], shown: nanos(times[key]) }));
}

export function Verdict({ verdict }: { verdict: string }) {
  const words = verdict === 'saving' ? 'saving' : verdict === 'loss' ? 'loss' : 'no significant difference';
  return <span class={`verdict ${verdict}`}>{words}</span>;
}

/** A table that may be wider than the screen. */
export function Wide({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <div class="wide" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

export function Waiting({ what }: { what: string }) {
  return <p class="waiting">{what}</p>;
}

interface ChoicesProps<Value extends string> {
  legend: string;
  name: string;
  options: readonly (readonly [Value, string])[];
  chosen: Value;
  choose: (value: Value) => void;
}

/** One of a few. */
export function Choices<Value extends string>({ legend, name, options, chosen, choose }: ChoicesProps<Value>) {
  return (
    <fieldset>
      <legend>{legend}</legend>
      {options.map(([value, word]) => (
        <label key={value}>
          <input type="radio" name={name} checked={chosen === value} onChange={() => choose(value)} />
          {word}
        </label>
      ))}
    </fieldset>
  );
}

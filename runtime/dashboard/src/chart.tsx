// A curve against both baselines, drawn by uPlot: what is below zero is a loss, and says so. Where a pointer is, its figures
// are read out above; the charts of a page are read out together.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { moment } from './format';

interface Props {
  title: string;
  unixMs: number[];
  /** None of who is told of copies of its own alone. */
  shared: (number | null)[] | null;
  dedicated: (number | null)[];
  shown: (value: number) => string;
  theme: string;
}

const HEIGHT = 180;
const POINTS_SEEN_MAX = 40;
const TOGETHER = 'savings';

export function Chart({ title, unixMs, shared, dedicated, shown, theme }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const readOut = useRef<HTMLSpanElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data: uPlot.AlignedData = [unixMs.map((time) => time / 1000), shared ?? unixMs.map(() => null), dedicated];
  useEffect(() => {
    const host = place.current;
    if (!host) return;
    const drawn = new uPlot(options(host, readOut.current, shown), data, host);
    plot.current = drawn;
    const resized = new ResizeObserver(() => drawn.setSize({ width: host.clientWidth, height: HEIGHT }));
    resized.observe(host);
    return () => {
      resized.disconnect();
      drawn.destroy();
    };
  }, [theme]);
  // The curves come with their times.
  useEffect(() => plot.current?.setData(data), [unixMs]);
  const last = (curve: (number | null)[]) => {
    const value = curve[curve.length - 1];
    return value === null || value === undefined ? 'unknown' : shown(value);
  };
  const now = shared
    ? `${last(shared)} against one shared copy, ${last(dedicated)} against a copy per tenant`
    : `${last(dedicated)} against copies of your own`;
  return (
    <figure class="chart">
      <figcaption>
        {title} <span ref={readOut} class="figure read-out" aria-hidden="true" />
      </figcaption>
      <div ref={place} role="img" aria-label={`${title}, ${unixMs.length} points; now ${now}`} />
    </figure>
  );
}

function options(host: HTMLElement, readOut: HTMLElement | null, shown: (value: number) => string): uPlot.Options {
  const style = getComputedStyle(host);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: color('--quiet'),
    grid: { stroke: color('--line'), width: 1 },
    ticks: { stroke: color('--line'), width: 1, size: 4 },
    font: `11px ${style.fontFamily}`,
  };
  // As long as there are few of them, each is seen.
  const points = { show: (drawn: uPlot) => (drawn.data[0]?.length ?? 0) <= POINTS_SEEN_MAX, size: 4 };
  return {
    width: host.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { size: 7 }, sync: { key: TOGETHER, setSeries: false } },
    padding: [8, 28, 0, 0],
    scales: {
      x: { time: true },
      // Zero is always in it: a saving and a loss are on their own sides of it.
      y: { range: (_, least, most) => uPlot.rangeNum(Math.min(0, least ?? 0), Math.max(0, most ?? 0), 0.1, true) },
    },
    axes: [
      { ...axis, size: 28, space: 80, values: times },
      { ...axis, size: 76, values: (_, values) => values.map((value) => (value === 0 ? '0' : shown(value))) },
    ],
    series: [{}, { stroke: color('--accent'), width: 2, points }, { stroke: color('--second'), width: 1.5, dash: [5, 4], points }],
    hooks: {
      drawAxes: [(drawn) => drawZero(drawn, color)],
      setCursor: [(drawn) => void (readOut && (readOut.textContent = read(drawn, shown)))],
    },
  };
}

/** The moment at the pointer, and what had been saved by then. */
function read(drawn: uPlot, shown: (value: number) => string): string {
  const { idx } = drawn.cursor;
  if (idx === null || idx === undefined) return '';
  const [at, ...values] = drawn.data.map((curve) => curve[idx]);
  const known = values.filter((value) => value !== null && value !== undefined).map(shown);
  return [moment((at ?? 0) * 1000, Date.now()), ...known].join(' · ');
}

/** By the clock, or by the day where the curve is that long; a curve of minutes shows seconds. */
function times(drawn: uPlot, splits: number[]): string[] {
  const { min = 0, max = 0 } = drawn.scales.x ?? {};
  const span = (max ?? 0) - (min ?? 0);
  const form: Intl.DateTimeFormatOptions =
    span > 172_800
      ? { month: 'short', day: 'numeric' }
      : { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', ...(span < 600 ? { second: '2-digit' } : {}) };
  const shown = new Intl.DateTimeFormat([], form);
  return splits.map((at) => shown.format(at * 1000));
}

function drawZero(drawn: uPlot, color: (name: string) => string): void {
  const { ctx, bbox } = drawn;
  const zero = Math.round(drawn.valToPos(0, 'y', true));
  ctx.save();
  ctx.fillStyle = color('--loss-ground');
  ctx.fillRect(bbox.left, zero, bbox.width, Math.max(0, bbox.top + bbox.height - zero));
  ctx.fillStyle = color('--ink');
  ctx.fillRect(bbox.left, zero, bbox.width, Math.max(1, devicePixelRatio));
  ctx.restore();
}

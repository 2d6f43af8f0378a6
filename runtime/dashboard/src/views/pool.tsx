// The pool: whose memory it is, who is in it, and who had to go.

import { useState } from 'preact/hooks';
import { post } from '../ask';
import { ago, bytes, clock, count, percent, seconds } from '../format';
import { Bar, Legend, useNow, Waiting, Wide, type Part } from '../parts';
import type { Eviction, Model, Pool } from '../wire';

interface Props {
  pool: Pool;
  poolAt: number;
  administers: boolean;
}

export function PoolView({ pool, poolAt, administers }: Props) {
  const now = useNow();
  const [refused, setRefused] = useState('');
  const since = (now - poolAt) / 1000;
  const change = (action: string, model: string) => {
    setRefused('');
    post(`/models/${action}`, { model }).catch((error: Error) => setRefused(`${model}: ${error.message}`));
  };
  return (
    <>
      <Memory pool={pool} />
      {refused && (
        <p class="refused" role="alert">
          {refused}
        </p>
      )}
      <section aria-labelledby="models">
        <h2 id="models">Models</h2>
        {pool.data.length === 0 && <Waiting what="There are no models: dayfly pull smollm2 brings one." />}
        <ul class="models">
          {pool.data.map((model) => (
            <ModelRow key={model.id} model={model} since={since} administers={administers} change={change} />
          ))}
        </ul>
        {pool.models_left_out > 0 && <p class="note">{count(pool.models_left_out)} further models, none of them in memory.</p>}
        {!administers && <p class="note">This key sees. Loading, letting go and pinning need the scope admin.</p>}
      </section>
      <Evictions evictions={pool.evictions} since={since} />
    </>
  );
}

function Memory({ pool }: { pool: Pool }) {
  const { limit_bytes, used_bytes, weights_bytes, prefix_cache, headers, response_cache, pinned_bytes } = pool.memory;
  const kv = Math.max(0, used_bytes - weights_bytes - prefix_cache.bytes);
  const free = Math.max(0, limit_bytes - used_bytes);
  const part = (name: string, kind: string, size: number): Part => ({ name, kind, size, shown: bytes(size) });
  const parts = [
    part('weights', 'weights', weights_bytes),
    part('keys and values in use', 'kv', kv),
    part('kept prefixes', 'prefix', prefix_cache.bytes),
    part('free', 'free', free),
  ];
  const waiting = pool.memory.waiting_requests + pool.devices.reduce((sum, device) => sum + device.queued_requests, 0);
  return (
    <section aria-labelledby="memory" class="memory">
      <h2 id="memory">Memory</h2>
      <p class="reading">
        <strong class="figure">{bytes(used_bytes)}</strong> of <span class="figure">{bytes(limit_bytes)}</span> budget
        <span class="aside figure">{percent(limit_bytes > 0 ? used_bytes / limit_bytes : null)}</span>
      </p>
      <Bar label="Memory budget" parts={parts} whole={Math.max(limit_bytes, used_bytes)} />
      <Legend parts={parts} />
      <dl class="facts">
        <div>
          <dt>headers, tokenizers, templates</dt>
          <dd class="figure">
            {bytes(headers.bytes)} <small>of {count(headers.count)}, beside the budget</small>
          </dd>
        </div>
        <div>
          <dt>kept answers</dt>
          <dd class="figure">
            {bytes(response_cache.bytes)} <small>of {count(response_cache.answers)}, beside the budget</small>
          </dd>
        </div>
        <div>
          <dt>pinned</dt>
          <dd class="figure">{bytes(pinned_bytes)}</dd>
        </div>
        <div>
          <dt>requests that wait</dt>
          <dd class="figure">{count(waiting)}</dd>
        </div>
      </dl>
      {pool.devices.length > 1 && (
        <ul class="devices">
          {pool.devices.map((device) => (
            <li key={device.id}>
              <span>
                {device.id} <small>{device.kind}</small>
              </span>
              <Bar
                label={`Memory of ${device.id}`}
                whole={device.memory.limit_bytes}
                parts={[
                  part('weights', 'weights', device.memory.weights_bytes),
                  part('other', 'kv', Math.max(0, device.memory.used_bytes - device.memory.weights_bytes)),
                ]}
              />
              <span class="figure">
                {bytes(device.memory.used_bytes)} / {bytes(device.memory.limit_bytes)}
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

interface RowProps {
  model: Model;
  since: number;
  administers: boolean;
  change: (action: string, model: string) => void;
}

function ModelRow({ model, since, administers, change }: RowProps) {
  const status = model.status.value;
  const isThere = status === 'loaded';
  const { progress } = model.status;
  return (
    <li class={`model ${status}`}>
      <div class="who">
        <span class={`lamp ${lamp(model)}`} aria-hidden="true" />
        <span class="name">
          <strong>{model.id}</strong>{' '}
          <small>
            {words(model)}
            {model.device && isThere && ` on ${model.device}`}
          </small>
        </span>
      </div>
      <dl>
        <div>
          <dt>{isThere ? 'in memory' : 'file'}</dt>
          <dd class="figure">{bytes(isThere ? (model.weights_bytes ?? 0) : model.size_bytes)}</dd>
        </div>
        <div>
          <dt>in use by</dt>
          <dd class="figure">
            {count(model.leases ?? 0)}
            {(model.waiting_requests ?? 0) > 0 && <small> +{count(model.waiting_requests ?? 0)} waiting</small>}
          </dd>
        </div>
        <div>
          <dt>goes in</dt>
          <dd class="figure">{leaves(model, since)}</dd>
        </div>
        <div>
          <dt>last load</dt>
          <dd class="figure">{lastLoad(model)}</dd>
        </div>
      </dl>
      {administers && (
        <div class="actions">
          {isThere ? (
            <button type="button" onClick={() => change('unload', model.id)} disabled={model.pinned} aria-label={`Evict ${model.id}`}>
              Evict
            </button>
          ) : (
            <button type="button" onClick={() => change('load', model.id)} disabled={status === 'loading'} aria-label={`Load ${model.id}`}>
              Load
            </button>
          )}
          <button
            type="button"
            onClick={() => change(model.pinned ? 'unpin' : 'pin', model.id)}
            aria-pressed={model.pinned ?? false}
            aria-label={`Pin ${model.id}`}
          >
            {model.pinned ? 'Pinned' : 'Pin'}
          </button>
        </div>
      )}
      {progress && (
        <progress value={progress.value} max={1} aria-label={`Loading ${model.id}: ${progress.current}`}>
          {percent(progress.value)}
        </progress>
      )}
    </li>
  );
}

function lamp(model: Model): string {
  if (model.quarantined_for_seconds) return 'failed';
  if (model.status.value !== 'loaded') return model.status.value;
  return model.status.state === 'idle' ? 'idle' : 'busy';
}

function words(model: Model): string {
  if (model.quarantined_for_seconds) return `set aside after a failure, for ${seconds(model.quarantined_for_seconds)}`;
  if (model.gives_way_for) return `gives way: ${model.gives_way_for}`;
  const state = model.status.state ?? '';
  if (state === 'resident') return 'in use';
  if (state === 'awaiting_room') return 'waits for room';
  return state === '' || state === 'absent' ? 'not in memory' : state;
}

function leaves(model: Model, since: number): string {
  if (model.status.value !== 'loaded') return '–';
  if (model.pinned) return 'stays';
  if (model.status.state !== 'idle') return 'in use';
  const left = model.expires_in_seconds;
  return left === null || left === undefined ? 'when needed' : clock(left - since);
}

function lastLoad(model: Model): string {
  if (model.last_load_seconds === null || model.last_load_seconds === undefined) return '–';
  const label = model.last_load_source?.label ?? 'unknown';
  const cache = label === 'page_cache_warm' ? ' warm' : label === 'page_cache_cold' ? ' cold' : '';
  return `${seconds(model.last_load_seconds)}${cache}`;
}

function Evictions({ evictions, since }: { evictions: Eviction[]; since: number }) {
  const latest = evictions.slice().reverse();
  return (
    <section aria-labelledby="evictions">
      <h2 id="evictions">Evictions</h2>
      {latest.length === 0 ? (
        <Waiting what="None since this server began." />
      ) : (
        <Wide label="Evictions">
          <table>
            <thead>
              <tr>
                <th scope="col">when</th>
                <th scope="col">model</th>
                <th scope="col">why</th>
                <th scope="col" class="number">gave back</th>
                <th scope="col" class="number">idle for</th>
              </tr>
            </thead>
            <tbody>
              {latest.map((one, place) => (
                <tr key={evictions.length - place}>
                  <td>{ago(one.seconds_ago + since)}</td>
                  <th scope="row">{one.model}</th>
                  <td>{one.cause}</td>
                  <td class="number">{bytes(one.bytes)}</td>
                  <td class="number">{seconds(one.idle_seconds)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
    </section>
  );
}

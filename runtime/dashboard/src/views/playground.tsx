// Asks a model, and shows what that took.

import { useRef, useState } from 'preact/hooks';
import { post } from '../ask';
import { nanos } from '../format';
import { events } from '../live';
import { ReceiptFigures } from '../receipt';
import type { Model, Receipt } from '../wire';

interface Chunk {
  choices?: { delta?: { content?: string }; text?: string }[];
  dayfly?: Receipt;
  error?: { message: string };
}

export function PlaygroundView({ models }: { models: Model[] }) {
  const [model, setModel] = useState('');
  const [prompt, setPrompt] = useState('What is a mayfly?');
  const [form, setForm] = useState<'chat' | 'text'>('chat');
  const [tokens, setTokens] = useState(64);
  const [answer, setAnswer] = useState('');
  const [receipt, setReceipt] = useState<Receipt | null>(null);
  const [first, setFirst] = useState<number | null>(null);
  const [refused, setRefused] = useState('');
  const asking = useRef<AbortController | null>(null);
  const [isAsking, setAsking] = useState(false);
  const chosen = model || models.find((one) => one.status.value === 'loaded')?.id || models[0]?.id || '';

  const ask = async (event: Event) => {
    event.preventDefault();
    const controller = new AbortController();
    asking.current = controller;
    setAsking(true);
    setAnswer('');
    setReceipt(null);
    setRefused('');
    setFirst(null);
    const began = performance.now();
    const common = { model: chosen, max_tokens: tokens, stream: true, stream_options: { include_usage: true } };
    const [path, body] =
      form === 'chat'
        ? ['/v1/chat/completions', { ...common, messages: [{ role: 'user', content: prompt }] }]
        : ['/v1/completions', { ...common, prompt }];
    try {
      const response = await post(path as string, body, controller.signal);
      let hasBegun = false;
      for await (const data of events(response.body as ReadableStream<Uint8Array>)) {
        if (data === null || data === '[DONE]') continue;
        const chunk = JSON.parse(data) as Chunk;
        if (chunk.error) throw new Error(chunk.error.message);
        const text = chunk.choices?.map((choice) => choice.delta?.content ?? choice.text ?? '').join('') ?? '';
        if (text && !hasBegun) {
          hasBegun = true;
          setFirst((performance.now() - began) * 1e6);
        }
        setAnswer((before) => before + text);
        if (chunk.dayfly) setReceipt(chunk.dayfly);
      }
    } catch (error) {
      if (!controller.signal.aborted) setRefused((error as Error).message);
    } finally {
      setAsking(false);
    }
  };

  return (
    <section aria-labelledby="ask" class="playground">
      <h2 id="ask">Ask</h2>
      <form onSubmit={ask}>
        <div class="fields">
          <label>
            Model
            <select value={chosen} onChange={(event) => setModel(event.currentTarget.value)}>
              {models.map((one) => (
                <option key={one.id} value={one.id}>
                  {one.id} {one.status.value === 'loaded' ? '· in memory' : ''}
                </option>
              ))}
            </select>
          </label>
          <label>
            As
            <select value={form} onChange={(event) => setForm(event.currentTarget.value as 'chat' | 'text')}>
              <option value="chat">a message</option>
              <option value="text">a text to go on with</option>
            </select>
          </label>
          <label>
            Tokens at most
            <input
              type="number"
              min={1}
              max={4096}
              value={tokens}
              onInput={(event) => setTokens(Math.max(1, Math.min(4096, event.currentTarget.valueAsNumber || 1)))}
            />
          </label>
        </div>
        <label>
          Prompt
          <textarea rows={3} value={prompt} onInput={(event) => setPrompt(event.currentTarget.value)} />
        </label>
        <div class="actions">
          <button type="submit" class="first" disabled={isAsking || chosen === '' || prompt === ''}>
            Ask
          </button>
          <button type="button" onClick={() => asking.current?.abort()} disabled={!isAsking}>
            Stop
          </button>
          {first !== null && (
            <span class="note">
              first token after <span class="figure">{nanos(first)}</span>, seen from here
            </span>
          )}
        </div>
      </form>
      {refused && (
        <p class="refused" role="alert">
          {refused}
        </p>
      )}
      <div class="answer" role="log" aria-live="polite" aria-label="Answer" aria-busy={isAsking}>
        {answer || (isAsking ? '…' : '')}
      </div>
      {receipt && (
        <section aria-labelledby="its-receipt">
          <h2 id="its-receipt">What that took</h2>
          <ReceiptFigures receipt={receipt} />
        </section>
      )}
    </section>
  );
}

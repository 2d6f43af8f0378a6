// One question at a time, its answer as it comes, and what that took.

import { useEffect, useRef, useState } from 'preact/hooks';
import { post } from './ask';
import { events } from './events';
import type { Receipt } from './wire';

export type Form = 'chat' | 'text';

export interface Question {
  model: string;
  prompt: string;
  form: Form;
  tokens: number;
}

interface Answer {
  state: 'none' | 'asking' | 'stopped' | 'over';
  answer: string;
  receipt: Receipt | null;
  /** When the first token was there, in nanoseconds from asking, seen from here. */
  first: number | null;
  refused: string;
}

interface Chunk {
  choices?: { delta?: { content?: string }; text?: string }[];
  dayfly?: Receipt;
  error?: { message: string };
}

const NONE: Answer = { state: 'none', answer: '', receipt: null, first: null, refused: '' };

export function useAnswer(): Answer & { ask: (question: Question) => Promise<void>; stop: () => void } {
  const [told, setTold] = useState(NONE);
  const asking = useRef<AbortController | null>(null);
  useEffect(() => () => asking.current?.abort(), []);
  const ask = async (question: Question) => {
    const controller = new AbortController();
    asking.current = controller;
    setTold({ ...NONE, state: 'asking' });
    const began = performance.now();
    try {
      for await (const { text, receipt } of answered(question, controller.signal)) {
        const first = (performance.now() - began) * 1e6;
        setTold((before) => ({
          ...before,
          answer: before.answer + text,
          receipt: receipt ?? before.receipt,
          first: before.first ?? (text ? first : null),
        }));
      }
      setTold((before) => ({ ...before, state: 'over' }));
    } catch (error) {
      const hasStopped = controller.signal.aborted;
      // What a browser says of a stream that ends is its own matter.
      const why = error instanceof TypeError ? 'The answer broke off: the server is not heard.' : (error as Error).message;
      setTold((before) => ({ ...before, state: hasStopped ? 'stopped' : 'over', refused: hasStopped ? '' : why }));
    }
  };
  return { ...told, ask, stop: () => asking.current?.abort() };
}

async function* answered(
  { model, prompt, form, tokens }: Question,
  signal: AbortSignal,
): AsyncGenerator<{ text: string; receipt: Receipt | undefined }> {
  const common = { model, max_tokens: tokens, stream: true, stream_options: { include_usage: true } };
  const response =
    form === 'chat'
      ? await post('/v1/chat/completions', { ...common, messages: [{ role: 'user', content: prompt }] }, signal)
      : await post('/v1/completions', { ...common, prompt }, signal);
  for await (const data of events(response.body as ReadableStream<Uint8Array>)) {
    if (data === null || data === '[DONE]') continue;
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) throw new Error(chunk.error.message);
    const text = chunk.choices?.map((choice) => choice.delta?.content ?? choice.text ?? '').join('') ?? '';
    yield { text, receipt: chunk.dayfly };
  }
}

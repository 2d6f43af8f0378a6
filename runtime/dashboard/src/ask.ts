// Requests to this server. A refusal becomes an error that says what the server said.

export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  const response = await fetch(path, options).catch((error: Error) => {
    // A browser's own words for it are not the reader's.
    throw options.signal?.aborted ? error : new Refused(0, 'The server cannot be reached.');
  });
  if (response.ok) return response;
  const body: unknown = await response.json().catch(() => null);
  const error = (body as { error?: { message?: string } } | null)?.error;
  throw new Refused(response.status, error?.message ?? `the server answered ${response.status}`);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await ask(path, signal ? { signal } : {})).json() as Promise<T>;
}

export function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return ask(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

// A module of the page, built as the page is, for tests to call.

import { build } from 'vite';

export async function built(path) {
  const output = { format: 'es' };
  const options = { configFile: false, logLevel: 'error', build: { write: false, minify: false, ssr: path, rolldownOptions: { output } } };
  const [chunk] = (await build(options)).output;
  return import(`data:text/javascript,${encodeURIComponent(chunk.code)}`);
}

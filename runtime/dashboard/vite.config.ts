import { defineConfig } from 'vite';

// The page is embedded in the binary: few files, names that change with their content, the same bytes for the same source.
export default defineConfig({
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: false,
    rolldownOptions: { output: { codeSplitting: false } },
  },
  // For work on the page: `npm run dev` beside a server on its usual port.
  server: { proxy: { '/v1': 'http://127.0.0.1:8787', '/models': 'http://127.0.0.1:8787' } },
});

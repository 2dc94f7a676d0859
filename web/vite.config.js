// Builds the page into the package. `npm run dev` serves it with its API proxied from `make serve`.
import { fileURLToPath } from 'node:url';
import vue from '@vitejs/plugin-vue2';
import { defineConfig } from 'vite';

const API = process.env.OPENEO_NC_API ?? 'http://127.0.0.1:8080';
const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const ROUTES = ['.well-known', 'collections', 'conformance', 'credentials', 'file_formats', 'jobs', 'me',
  'processes', 'page/codecs.json', 'assets', 'results', 'udf_runtimes'];

// What was made for webpack: `require` in modules, and ways to the global object by code made from texts.
const webpack = {
  name: 'made-for-webpack',
  enforce: 'pre',
  transform(code, id) {
    if (!id.includes('node_modules')) return null;
    return code
      .replace(/\b(new )?Function\((["'])return this\2\)\(\)/g, 'globalThis')
      .replace(/require\('([^']+\.vue)'\)\.default/g, "() => import('$1')");
  },
};

export default defineConfig({
  base: './',
  plugins: [webpack, vue()],
  resolve: {
    alias: [
      // Its polyfills make code from texts, which the page's security policy forbids.
      { find: 'regexp.escape', replacement: file('src/escape.cjs') },
      // Maps and graphs that the page does not show: maps would ask other sites for tiles.
      { find: /^leaflet(\.antimeridian|\/dist\/leaflet\.css)?$/, replacement: file('src/nothing.js') },
      { find: /^\.{1,2}\/ModelBuilder\.vue$/, replacement: file('src/nothing.js') },
    ],
  },
  build: {
    outDir: '../openeo_nc/server/static',
    assetsDir: 'page/assets',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
  },
  css: { preprocessorOptions: { scss: { quietDeps: true } } },
  server: {
    proxy: Object.fromEntries(ROUTES.map((route) => [`/${route}`, API])),
  },
});

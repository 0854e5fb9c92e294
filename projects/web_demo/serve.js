/** Serve dist/ on this machine: node serve.js [PORT]. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('dist', import.meta.url));
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
  '.jpg': 'image/jpeg',
  '.svg': 'image/svg+xml',
};
// without these two, browsers give WebAssembly one thread
const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/** Start a server; port 0 takes a free one. */
export function serve(port = 0, headers = ISOLATION, folder = DIST) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    let path = join(folder, normalize(decodeURIComponent(pathname)));
    if (pathname.endsWith('/')) path = join(path, 'index.html');
    const file = await stat(path).catch(() => null);
    if (!file?.isFile() || !path.startsWith(folder)) {
      response.writeHead(404, headers).end('not found');
      return;
    }
    response.writeHead(200, {
      'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream',
      'Content-Length': file.size,
      'Cache-Control': 'no-cache',
      ...headers,
    });
    createReadStream(path).pipe(response);
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const port = Number(process.argv[2] ?? 8000);
  try {
    await serve(port);
    console.log(`http://localhost:${port}/  (Ctrl-C ends)`);
  } catch (error) {
    console.error(`port ${port} cannot be used (${error.code}): give another, ` +
      'node serve.js PORT or make web PORT=');
    process.exitCode = 1;
  }
}

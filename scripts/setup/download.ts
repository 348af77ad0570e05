import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { messageOf } from '../../lib/errors.ts';
import { setupFailed } from './failure.ts';
import type { Log } from './log.ts';

/** A server that says nothing for this long is given up. */
const silenceSeconds = 30;
const reportSeconds = 10;

/** Fetches `url` into `file`, telling every few seconds how far it is. */
export async function download(url: string, file: string, log: Log): Promise<void> {
  const control = new AbortController();
  const silence = setTimeout(() => control.abort(), silenceSeconds * 1000);
  let received = 0;
  const megabytes = (bytes: number): number => Math.round(bytes / 2 ** 20);
  let report: NodeJS.Timeout | undefined;
  try {
    const response = await fetch(url, { signal: control.signal });
    if (!response.ok || !response.body) throw setupFailed(`the server answered ${response.status}`);
    const total = Number(response.headers.get('content-length'));
    report = setInterval(() => {
      log(`  ${megabytes(received)}${total ? ` of ${megabytes(total)}` : ''} MB`);
    }, reportSeconds * 1000);
    await pipeline(
      Readable.fromWeb(response.body),
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          received += chunk.length;
          silence.refresh();
          yield chunk;
        }
      },
      createWriteStream(file),
    );
  } catch (error) {
    if (control.signal.aborted) throw setupFailed(`${url}: no answer for ${silenceSeconds} s`, error);
    // fetch says only "fetch failed"; what failed is in its cause.
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw setupFailed(`${url}: ${messageOf(cause)}`, error);
  } finally {
    clearTimeout(silence);
    clearInterval(report);
  }
}

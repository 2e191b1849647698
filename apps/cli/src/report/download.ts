/** A bar for each file that a data set downloads. */
import { basename } from 'node:path';
import type { WriteStream } from 'node:tty';
import { data } from 'lockstep';
import { ProgressLine } from './progress.ts';

const MEGABYTE = 1e6;
const CELLS = 24;

/** `name  ████████────────  45 %  12.3 of 26.4 MB`. */
export function downloadLine({ path, received, total }: data.DownloadProgress): string {
  const share = received / total;
  const done = Math.floor(share * CELLS);
  const bar = '█'.repeat(done) + '─'.repeat(CELLS - done);
  const percent = `${Math.floor(share * 100)} %`.padStart(5);
  return `${basename(path)}  ${bar}  ${percent}  ${(received / MEGABYTE).toFixed(1)} of ${(total / MEGABYTE).toFixed(1)} MB`;
}

/** Draws on a terminal while files come in, and leaves one line per file. */
export function showDownloads(stream: Pick<WriteStream, 'write' | 'columns' | 'isTTY'>): void {
  const line = new ProgressLine(stream);
  data.onDownload((progress) => {
    if (progress.received < progress.total) line.draw(() => downloadLine(progress));
    else line.print(downloadLine(progress));
  });
}

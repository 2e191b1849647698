import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readPng, writePng } from './png.ts';

/** 5 × 3 pixels, written and read by Pillow 9.4. */
const files: Readonly<Record<string, { channels: number; file: string; pixels: readonly number[] }>> = {
  grey: {
    channels: 1,
    file: 'iVBORw0KGgoAAAANSUhEUgAAAAUAAAADCAAAAAB+XZokAAAAG0lEQVR4nGNwUWiy+cuyiPviS2OGn3zH7zICAD8UB2qI8ph1AAAAAElFTkSuQmCC',
    pixels: [68, 32, 130, 60, 253, 230, 241, 194, 107, 48, 249, 14, 199, 221, 1],
  },
  'grey and alpha': {
    channels: 2,
    file: 'iVBORw0KGgoAAAANSUhEUgAAAAUAAAADCAQAAADxPw1zAAAALElEQVR4nAEhAN7/AOSIdTSiDwsNBMMEilCg6dLJbLP/rQDrlAvVM1+XParY8vwPuqPE30oAAAAASUVORK5CYII=',
    pixels: [
      228, 136, 117, 52, 162, 15, 11, 13, 4, 195, 110, 216, 14, 113, 224, 253, 119, 176, 118, 112, 235, 148,
      11, 213, 51, 95, 151, 61, 170, 216,
    ],
  },
  colours: {
    channels: 3,
    file: 'iVBORw0KGgoAAAANSUhEUgAAAAUAAAADCAIAAADUVFKvAAAAO0lEQVR4nAEwAM//AGGbkf/JEfV8ztRYu78s4ATWuDi+X/4zTc/1Qbm12hAAds+wtOuJAsRCadoc9rpmkHkatPDXLVEAAAAASUVORK5CYII=',
    pixels: [
      97, 155, 145, 255, 201, 17, 245, 124, 206, 212, 88, 187, 191, 44, 224, 55, 83, 201, 189, 250, 15, 240,
      22, 157, 201, 87, 86, 116, 6, 102, 118, 207, 176, 180, 235, 137, 2, 196, 66, 105, 218, 28, 246, 186,
      102,
    ],
  },
  'colours and alpha': {
    channels: 4,
    file: 'iVBORw0KGgoAAAANSUhEUgAAAAUAAAADCAYAAABbNsX4AAAASklEQVR4nAE/AMD/ANP4ttSxAKnqDnVaXC6CECQqCOcHAryH02StsOs5R9wo+l0U2IDU6lMFBBBGJp8Cv4iqFozT8n7uyG7H8qBkrGwe0OcIovcAAAAASUVORK5CYII=',
    pixels: [
      211, 248, 182, 212, 177, 0, 169, 234, 14, 117, 90, 92, 46, 130, 16, 36, 42, 8, 231, 7, 143, 127, 137,
      56, 94, 176, 148, 35, 85, 81, 130, 86, 139, 150, 232, 164, 254, 242, 58, 12, 159, 197, 175, 215, 96,
      132, 55, 129, 107, 221, 10, 115, 9, 203, 74, 18, 82, 228, 218, 112,
    ],
  },
  'one bit': {
    channels: 1,
    file: 'iVBORw0KGgoAAAANSUhEUgAAAAUAAAADAQAAAABzTfhVAAAADklEQVR4nGPQYHjAdAEABEIB2099MzQAAAAASUVORK5CYII=',
    pixels: [0, 0, 255, 0, 255, 255, 255, 255, 0, 0, 255, 0, 255, 255, 0],
  },
  'palette of two bits': {
    channels: 3,
    file: 'iVBORw0KGgoAAAANSUhEUgAAAAUAAAADAgMAAAAmWC1rAAAADFBMVEXG2FlEvlCyYKq2GKEXxSTkAAAAEUlEQVR4nGPwOsDQd4DBlQEADekCnnXSKwkAAAAASUVORK5CYII=',
    pixels: [
      68, 190, 80, 198, 216, 89, 178, 96, 170, 178, 96, 170, 182, 24, 161, 178, 96, 170, 198, 216, 89, 182,
      24, 161, 178, 96, 170, 182, 24, 161, 68, 190, 80, 198, 216, 89, 68, 190, 80, 68, 190, 80, 198, 216, 89,
    ],
  },
  palette: {
    channels: 3,
    file: 'iVBORw0KGgoAAAANSUhEUgAAAAUAAAADBAMAAACpGNjLAAAALVBMVEW9+g//yRH2uma064l2z7Bp2hwCxEJhm5H1fM7UWLvJV1Y3U8nwFp2/LOB0Bma82JsXAAAAFElEQVR4nGMo7LzAsOHUAwbnVAUAITAE7UE9UKMAAAAASUVORK5CYII=',
    pixels: [
      97, 155, 145, 255, 201, 17, 245, 124, 206, 212, 88, 187, 191, 44, 224, 55, 83, 201, 189, 250, 15, 240,
      22, 157, 201, 87, 86, 116, 6, 102, 118, 207, 176, 180, 235, 137, 2, 196, 66, 105, 218, 28, 246, 186,
      102,
    ],
  },
  'sixteen bits': {
    channels: 1,
    file: 'iVBORw0KGgoAAAANSUhEUgAAAAUAAAADEAAAAAAuzUZnAAAAKklEQVR4nGNwcVFQaGqysfn7l2XRIm7uixdfvjQ2Zvj5k4/v+PG7dxkZAeasDs9Lg8OeAAAAAElFTkSuQmCC',
    pixels: [68, 32, 130, 60, 253, 230, 241, 194, 107, 48, 249, 14, 199, 221, 1],
  },
};
const bytesOf = (name: string): Uint8Array => Buffer.from(files[name]!.file, 'base64');

describe('readPng', () => {
  test.each(Object.entries(files))('%s', async (name, { channels, pixels }) => {
    const { data, shape } = await readPng(bytesOf(name));
    expect(shape).toEqual([3, 5, channels]);
    expect([...data]).toEqual(pixels);
  });

  const damaged = bytesOf('colours').slice();
  damaged[50]! ^= 1;
  test.each([
    ['something else', Buffer.from('GIF89a, no PNG at all'), 'DATA_FORMAT', 'is not a PNG file'],
    ['nothing', new Uint8Array(), 'DATA_FORMAT', 'is not a PNG file'],
    ['half a file', bytesOf('colours').subarray(0, 60), 'DATA_CORRUPT', 'cannot be decoded'],
    ['a flipped bit', damaged, 'DATA_CORRUPT', 'cannot be decoded'],
  ])('refuses %s', async (_, bytes, code, message) => {
    const failure = readPng(bytes);
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toMatchObject({ code });
  });

  test('names the file that is not there', async () => {
    await expect(readPng('none.png')).rejects.toThrow('readPng: no file none.png');
  });
});

describe('writePng', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-png-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test('bytes come back, floats from 0 to 1 as bytes', async () => {
    const path = join(folder, 'a.png');
    const data = Uint8Array.from({ length: 24 }, (_, i) => 10 * i);
    for (const shape of [
      [4, 6],
      [2, 4, 3],
      [3, 2, 4],
    ]) {
      await writePng(path, { data, shape });
      const back = await readPng(path);
      expect([...back.data]).toEqual([...data]);
      expect(back.shape.slice(0, shape.length)).toEqual(shape);
    }
    await writePng(path, { data: Float32Array.of(-1, 0, 0.5, 1, 2, 0.1), shape: [2, 3] });
    expect([...(await readPng(path)).data]).toEqual([0, 0, 128, 255, 255, 26]);
    expect(readFileSync(path).subarray(1, 4).toString()).toBe('PNG');
  });

  test('refuses what is no image', async () => {
    const path = join(folder, 'b.png');
    for (const shape of [[6], [2, 2], [1, 1, 6]]) {
      await expect(writePng(path, { data: new Uint8Array(6), shape })).rejects.toThrow(`[${shape}]`);
    }
  });
});

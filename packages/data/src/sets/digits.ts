import { checkInteger } from '../common/errors.ts';
import { KeyedRandom, streams } from '../common/random.ts';
import { type Column, column, type Dataset, dataset } from '../dataset/dataset.ts';
import { type Glyph, glyphs, type Stroke } from './glyphs.ts';

/** Pixels of an image's side. */
const SIDE = 28;
const PIXELS = SIDE * SIDE;
/** Straight pieces per span of a curve. */
const PIECES = 4;
/** Half the width of a stroke's soft edge, in pixels. */
const EDGE = 0.6;
/** Bytes of the table that pixel noise is read from, at a random place per image. */
const NOISE = 1 << 16;

export interface DigitsOptions {
  /** Images to train on. Default 8,000. */
  readonly train?: number;
  /** Images to validate on; 0 for no validation set. Default 2,000. */
  readonly validation?: number;
  /** Whole number from 0 to 2^53 − 1. Default 0. */
  readonly seed?: number;
}

/**
 * Digits that look handwritten, made on the spot: `image` is f32 [784] from 0 to 1 (28 × 28 bytes · 1/255), `label` is
 * i32 from 0 to 9. Image i depends on (seed, part, i) alone, so fewer images are the first of more, and the bits are the
 * same on every platform: only + − × ÷ √ are used, and pixels are bytes.
 */
export function digits(options: DigitsOptions = {}): Dataset<'image' | 'label'> {
  const { train = 8000, validation = 2000, seed = 0 } = options;
  checkInteger('digits: train', train, 1, 2 ** 21);
  checkInteger('digits: validation', validation, 0, 2 ** 21);
  checkInteger('digits: seed', seed, 0);
  const noise = noiseTable(seed);
  const held =
    validation > 0 ? draw(validation, new KeyedRandom(seed, streams.digitsValidation), noise) : undefined;
  return dataset({
    name: 'digits',
    columns: draw(train, new KeyedRandom(seed, streams.digitsTrain), noise),
    validation: held && dataset({ name: 'digits (validation)', columns: held }),
  });
}

function draw(count: number, random: KeyedRandom, noise: Int8Array): { image: Column; label: Column } {
  const images = new Uint8Array(count * PIXELS);
  const labels = new Uint8Array(count);
  const canvas = new Canvas();
  for (let i = 0; i < count; i++) {
    random.seek(i);
    const label = random.below(10);
    labels[i] = label;
    const styles = glyphs[label]!;
    canvas.drawGlyph(styles[random.below(styles.length)]!, random);
    canvas.develop(images.subarray(i * PIXELS, (i + 1) * PIXELS), random, noise);
  }
  return {
    image: column(images, { shape: [PIXELS], scale: 1 / 255 }),
    label: column(labels, { as: 'i32', classes: 10 }),
  };
}

/** Noise of mean 0, from −128 to 127: the mean of two uniform bytes (a triangle). */
function noiseTable(seed: number): Int8Array {
  const random = new KeyedRandom(seed, streams.digitsNoise);
  const table = new Int8Array(NOISE);
  for (let i = 0; i < NOISE; i += 2) {
    const word = random.u32();
    table[i] = (((word & 255) + ((word >>> 8) & 255)) >> 1) - 128;
    table[i + 1] = ((((word >>> 16) & 255) + (word >>> 24)) >> 1) - 128;
  }
  return table;
}

/** One image in the making: the squared distance of every pixel's centre to the nearest stroke. */
class Canvas {
  readonly #distance = new Float64Array(PIXELS);
  readonly #bare = new Uint8Array(256);
  /** Half the width of the pen, in pixels. */
  #radius = 1;
  /** Pixel x = #x · basis, y likewise; the basis is 1, u, v, u², u v, v² of the centred glyph coordinates u, v. */
  readonly #x = new Float64Array(6);
  readonly #y = new Float64Array(6);
  #penX = 0;
  #penY = 0;

  drawGlyph(glyph: Glyph, random: KeyedRandom): void {
    this.#distance.fill(Number.POSITIVE_INFINITY);
    this.#radius = random.between(1, 1.9);
    this.#drawHand(random);
    for (const stroke of glyph) this.#drawStroke(stroke);
  }

  /** A random affine map (size, aspect, slant, turn, place) with a slight quadratic bend. */
  #drawHand(random: KeyedRandom): void {
    const height = random.between(17.5, 21);
    const width = height * random.between(0.75, 1.05);
    const slant = random.between(-0.22, 0.18);
    // A turn by θ from t = tan(θ/2), so that no sine is needed: up to about 17°.
    const t = random.between(-0.09, 0.09);
    const cos = (1 - t * t) / (1 + t * t);
    const sin = (2 * t) / (1 + t * t);
    const x = this.#x;
    const y = this.#y;
    x[0] = SIDE / 2 + random.between(-1.25, 1.25);
    x[1] = width * cos;
    x[2] = -height * sin - slant * height * cos;
    y[0] = SIDE / 2 + random.between(-1.25, 1.25);
    y[1] = width * sin;
    y[2] = height * cos - slant * height * sin;
    for (let i = 3; i < 6; i++) {
      x[i] = random.between(-4.5, 4.5);
      y[i] = random.between(-4.5, 4.5);
    }
  }

  #drawStroke(points: Stroke): void {
    const last = points.length / 2 - 1;
    const closed = last > 1 && points[0] === points[2 * last] && points[1] === points[2 * last + 1];
    this.#moveTo(points[0]!, points[1]!);
    for (let i = 0; i < last; i++) {
      const before = i > 0 ? i - 1 : closed ? last - 1 : 0;
      const after = i + 2 <= last ? i + 2 : closed ? 1 : last;
      for (let piece = 1; piece <= PIECES; piece++) {
        const t = piece / PIECES;
        this.#lineTo(
          spline(points[2 * before]!, points[2 * i]!, points[2 * i + 2]!, points[2 * after]!, t),
          spline(points[2 * before + 1]!, points[2 * i + 1]!, points[2 * i + 3]!, points[2 * after + 1]!, t),
        );
      }
    }
  }

  #moveTo(glyphX: number, glyphY: number): void {
    const u = glyphX / 100 - 0.5;
    const v = glyphY / 100 - 0.5;
    const x = this.#x;
    const y = this.#y;
    this.#penX = x[0]! + x[1]! * u + x[2]! * v + x[3]! * u * u + x[4]! * u * v + x[5]! * v * v;
    this.#penY = y[0]! + y[1]! * u + y[2]! * v + y[3]! * u * u + y[4]! * u * v + y[5]! * v * v;
  }

  /** Lowers the distance of the pixels that this piece of the stroke can touch. */
  #lineTo(glyphX: number, glyphY: number): void {
    const fromX = this.#penX;
    const fromY = this.#penY;
    this.#moveTo(glyphX, glyphY);
    const alongX = this.#penX - fromX;
    const alongY = this.#penY - fromY;
    const square = alongX * alongX + alongY * alongY;
    const inverse = square > 0 ? 1 / square : 0;
    const reach = this.#radius + EDGE;
    const left = Math.max(0, Math.ceil(Math.min(fromX, this.#penX) - reach));
    const right = Math.min(SIDE - 1, Math.floor(Math.max(fromX, this.#penX) + reach));
    const top = Math.max(0, Math.ceil(Math.min(fromY, this.#penY) - reach));
    const bottom = Math.min(SIDE - 1, Math.floor(Math.max(fromY, this.#penY) + reach));
    const distance = this.#distance;
    for (let row = top; row <= bottom; row++) {
      const dy = row - fromY;
      for (let at = row * SIDE + left, x = left; x <= right; x++, at++) {
        const dx = x - fromX;
        const t = Math.max(0, Math.min(1, (dx * alongX + dy * alongY) * inverse));
        const offX = dx - t * alongX;
        const offY = dy - t * alongY;
        const d = offX * offX + offY * offY;
        if (d < distance[at]!) distance[at] = d;
      }
    }
  }

  /** Ink by distance, with a soft edge, and noise on top: bytes into `out`. */
  develop(out: Uint8Array, random: KeyedRandom, noise: Int8Array): void {
    const ink = random.between(160, 255);
    const grain = random.between(0.1, 0.5);
    const start = random.below(NOISE - PIXELS);
    // Most pixels have no ink: their 256 levels are worked out once.
    const bare = this.#bare;
    for (let n = -128; n < 128; n++) bare[n & 255] = pixel(grain * n);
    const distance = this.#distance;
    const outer = this.#radius + EDGE;
    for (let i = 0; i < PIXELS; i++) {
      const n = noise[start + i]!;
      const d = distance[i]!;
      out[i] =
        d < outer * outer
          ? pixel(grain * n + ink * Math.min(1, (outer - Math.sqrt(d)) / (2 * EDGE)))
          : bare[n & 255]!;
    }
  }
}

/** The byte nearest to a level. */
const pixel = (level: number): number => Math.max(0, Math.min(255, Math.floor(level + 0.5)));

/** Catmull–Rom: the curve from b to c (t from 0 to 1) with neighbours a and d. */
function spline(a: number, b: number, c: number, d: number, t: number): number {
  const p = c - a;
  const q = 2 * a - 5 * b + 4 * c - d;
  const r = 3 * b - a - 3 * c + d;
  return b + 0.5 * t * (p + t * (q + t * r));
}

/** Made-up houses: columns of very different scale, and a price that is no straight line in them. */
import { rand, randn, withRandom } from 'lockstep';

interface House {
  readonly area_m2: number;
  readonly rooms: number;
  readonly age_years: number;
  readonly distance_km: number;
  readonly energy_kwh_m2: number;
}

/** A table as CSV text; the same seed gives the same text. */
export function houses(rows: number, seed: number): string {
  const [uniform, normal] = withRandom({ seed }, () => [rand([rows, 4]).data(), randn([rows, 2]).data()]);
  const table = Array.from({ length: rows }, (_, row) => {
    const [size, age, distance, energy] = uniform.subarray(row * 4, row * 4 + 4);
    const [layout, luck] = normal.subarray(row * 2, row * 2 + 2);
    const area = Math.round(30 + 190 * size! * size!);
    const years = Math.round(110 * age!);
    const house: House = {
      area_m2: area,
      rooms: Math.max(1, Math.min(8, Math.round(area / 28 + 0.7 * layout!))),
      age_years: years,
      distance_km: Math.round(3 + 340 * distance! * distance!) / 10,
      energy_kwh_m2: Math.round(30 + years + 120 * energy!),
    };
    return { ...house, price_eur: priceOf(house, luck!) };
  });
  return [Object.keys(table[0]!), ...table.map(Object.values)]
    .map((cells) => `${cells.join(',')}\n`)
    .join('');
}

/** A metre costs less far out; a house loses until it is old enough to be loved again; luck is ±5 %. */
function priceOf(house: House, luck: number): number {
  const metre = 1800 + 5200 / (1 + house.distance_km / 6);
  const age = house.age_years / 110;
  const wear = 1 - 1.4 * age * (1 - age);
  const heating = 420 * Math.max(0, house.energy_kwh_m2 - 100);
  const price = house.area_m2 * metre * wear + 9000 * house.rooms - heating;
  return 100 * Math.round(Math.max(20_000, price * (1 + 0.05 * luck)) / 100);
}

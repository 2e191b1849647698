/** Single calls, timed one by one: tinybench inside of a round. Rounds take turns outside, as everywhere here. */
import { Bench } from 'tinybench';

/**
 * The median time of a call (ms), over so many seconds.
 * @param {() => void} call @param {number} seconds
 */
export async function medianCall(call, seconds) {
  const bench = new Bench({ time: 1000 * seconds, warmupTime: 100 * seconds, iterations: 3, throws: true });
  const [task] = await bench.add('call', call).run();
  const result = task?.result;
  if (!result || !('latency' in result)) throw new Error('bench: tinybench gave no times');
  return result.latency.p50;
}

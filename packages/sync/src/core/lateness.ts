/**
 * Note [Who is late]: shares are cut so that all are done at about the same time. So whoever takes several times as long as
 * another one took for its share of this very step is late: how long it took itself before does not count, or a node that
 * stops would be given ever more time. While nobody is done nobody is late: then it is the step that takes long.
 *
 * Computing is compared with computing. Gradients are held back on the wire while those of others are missing (pacer.ts),
 * so a node that has computed is compared with the whole time of others, or with what they usually take.
 */
import type { Coordinator, Member } from './coordinatorState.ts';
import type { Holder } from './openStep.ts';

/** When a holder of a unit of the open step is late: from then on the unit may be given to somebody else, too. */
export const dueOf = ({ config, members, open }: Coordinator, holder: Holder): number => {
  const { factor, least, unknown } = config.straggler;
  const { session, since, shards } = holder;
  const limit = (times: number): number => since + Math.max(least, times);
  if ((members.get(session)?.busy?.uncomputed ?? 0) > 0) {
    return limit(factor * open.quickest('computed', session, shards));
  }
  const others = [...members.values()].filter((member) => member.session !== session);
  const usual = Math.min(...others.map(({ round }) => round.value() ?? Number.POSITIVE_INFINITY));
  const time = Math.min(factor * open.quickest('returned', session, shards), 2 * factor * usual);
  return limit(time === Number.POSITIVE_INFINITY ? unknown : time);
};

/**
 * When nodes without a share are to compute units of the open step, too: nobody has returned anything of it for several times
 * as long as a step usually takes, so that nobody can be called late. Infinity: not at all.
 */
export const probeAt = (state: Coordinator): number => {
  const { phase, open, pace, config } = state;
  if (phase !== 'open' || open.hasReturns || outsiders(state).length === 0) return Number.POSITIVE_INFINITY;
  const { factor, least, unknown } = config.straggler;
  const usual = pace.value();
  return open.since + (usual === undefined ? unknown : Math.max(least, factor * usual));
};

/**
 * Nodes that could compute and have no share of the open step. Those that have not returned older units are left to it while
 * there are others.
 */
export const outsiders = ({ members, open, redundant }: Coordinator): Member[] => {
  const asked = new Map([...redundant].map(({ session, step }) => [session, step]));
  const all = [...members.values()].filter(
    ({ ready, leaving, receives, session }) =>
      ready && !leaving && !receives && asked.get(session) !== open.step,
  );
  const free = all.filter(({ session }) => !asked.has(session));
  return free.length > 0 ? free : all;
};

/** When the next holder is late, or a probe is wanted; Infinity when nothing is. */
export const nextDue = (state: Coordinator, now: number): number => {
  const probe = probeAt(state);
  let next = probe > now ? probe : Number.POSITIVE_INFINITY;
  if (state.phase !== 'open') return next;
  for (const { done, holders } of state.open.units) {
    if (done) continue;
    for (const holder of holders) {
      if (holder.hasReturned) continue;
      const due = dueOf(state, holder);
      if (due > now && due < next) next = due;
    }
  }
  return next;
};

/**
 * Bugs that are planted, one at a time, into what ships: texts of compiled files that are replaced as they are loaded
 * (`mutant.ts`). Nothing of the program knows of it. Each must be found by the simulation within so many seeds.
 */
export interface Edit {
  /** The end of the file's path. */
  readonly file: string;
  /** What stands there, once, and what takes its place. */
  readonly from: string;
  readonly to: string;
}

export interface Mutation {
  readonly name: string;
  readonly edits: readonly Edit[];
  /** Seeds within which it is found. */
  readonly within: number;
  /** It takes so many seeds that it is looked for by hand alone: `npm run simulate -- --mutant NUMBER`. */
  readonly isRare?: boolean;
}

const reducer = (from: string, to: string): Edit => ({ file: 'sync/dist/reduce/reducer.js', from, to });
const pipeline = (from: string, to: string): Edit => ({
  file: 'cluster/dist/coordinator/bucketPipeline.js',
  from,
  to,
});
const driver = (from: string, to: string): Edit => ({
  file: 'sync/dist/driver/coordinatorDriver.js',
  from,
  to,
});
const nodeDriver = (from: string, to: string): Edit => ({ file: 'sync/dist/driver/nodeDriver.js', from, to });
const early = (from: string, to: string): Edit => ({ file: 'cluster/dist/node/earlyBegin.js', from, to });
const store = (from: string, to: string): Edit => ({
  file: 'trainer/dist/files/checkpoint/store.js',
  from,
  to,
});
const executor = (from: string, to: string): Edit => ({
  file: 'cluster/dist/coordinator/clusterExecutor.js',
  from,
  to,
});

/** Without the invariants that production checks: then the oracle has to find it. */
const UNCHECKED: readonly Edit[] = [
  { file: 'sync/dist/reduce/bucketLedger.js', from: 'if (last >= step) {', to: 'if (false) {' },
  { file: 'sync/dist/reduce/bucketLedger.js', from: 'if (missing < 0)', to: 'if (true)' },
  { file: 'sync/dist/driver/published.js', from: 'if (model[bucket] !== undefined) {', to: 'if (false) {' },
];

/** The bug that a bucket's sum is handed on with every piece that comes when it is whole. */
const REDUCED_AGAIN = [
  reducer(
    'return undefined;\n        const outside',
    'return partials.find((each) => each.lo <= lo && hi <= each.hi);\n        const outside',
  ),
];

const SYNC_FILE = 'await file.sync();';

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'a bucket is reduced again with each piece of a unit that is cut anew',
    edits: [...REDUCED_AGAIN, ...UNCHECKED],
    within: 1000,
  },
  { name: 'the same, seen by the invariant', edits: REDUCED_AGAIN, within: 1000 },
  {
    name: 'a bucket is complete when its last shards are there',
    edits: [
      reducer('if (node?.lo !== 0 || node.hi !== this.#shards)', 'if (node?.hi !== this.#shards)'),
      ...UNCHECKED,
    ],
    within: 200,
  },
  {
    name: 'a duplicate is added',
    edits: [
      reducer(
        'const isUnitWhole = arrived.size === this.#options.buckets;\n            return',
        'for (const each of this.#partials[bucket]) if (each.value.length === value.length) this.#options.add(each.value, value, bucket);\n            const isUnitWhole = arrived.size === this.#options.buckets;\n            return',
      ),
      ...UNCHECKED,
    ],
    within: 1000,
  },
  {
    name: 'a late piece of the step before is accepted',
    edits: [
      reducer('if (units === undefined || step !== this.#step)', 'if (units === undefined)'),
      ...UNCHECKED,
    ],
    within: 1000,
  },
  {
    name: 'sums of the step before are left in the reducer',
    edits: [
      reducer(
        'this.#partials = Array.from({ length: this.#options.buckets }, () => []);',
        'if (this.#partials.length === 0 || step % 3 === 0) this.#partials = Array.from({ length: this.#options.buckets }, () => []);',
      ),
      ...UNCHECKED,
    ],
    within: 1000,
  },
  {
    name: 'pieces of the old cut and of the new one are added',
    edits: [
      reducer(
        'const outside = partials.filter((each) => each.hi <= lo || hi <= each.lo);',
        'const inside = partials.filter((each) => each.hi > lo && hi > each.lo); const outside = partials.filter((each) => each.hi <= lo || hi <= each.lo);',
      ),
      reducer(
        'let node = { lo, hi, value: keep === undefined ? given : keep(given, bucket) };',
        'let node = { lo, hi, value: inside.reduce((sum, each) => add(sum, each.value, bucket), keep === undefined ? given : keep(given, bucket)) };',
      ),
      ...UNCHECKED,
    ],
    within: 5000,
  },
  {
    name: 'shards are added by another tree',
    edits: [
      {
        file: 'sync/dist/reduce/tree.js',
        from: 'return lo + 2 ** (31 - Math.clz32(hi - lo - 1));',
        to: 'return lo + Math.ceil((hi - lo) / 2);',
      },
    ],
    within: 200,
  },
  {
    name: 'a batch begins before its sums and statistics are there',
    edits: [pipeline('if (batch.head.size < this.#head)\n            return;', ''), ...UNCHECKED],
    within: 200,
  },
  {
    name: 'a batch is applied before all of its units are there',
    edits: [
      { file: 'sync/dist/core/coordinator.js', from: 'if (open.isDone) {', to: 'if (true) {' },
      ...UNCHECKED,
    ],
    within: 1000,
  },
  {
    name: 'the same, seen by the invariant',
    edits: [{ file: 'sync/dist/core/coordinator.js', from: 'if (open.isDone) {', to: 'if (true) {' }],
    within: 1000,
  },
  {
    name: 'statistics are merged again with every bucket',
    edits: [pipeline('batch.hasBegun = true;', ''), ...UNCHECKED],
    within: 200,
  },
  {
    name: 'weights are published before they are updated',
    edits: [
      pipeline('updater.update(job, bucket - this.#head);', ''),
      pipeline(
        'this.#publish(batch.step + 1, bucket - this.#head);\n        }\n    }',
        'this.#publish(batch.step + 1, bucket - this.#head);\n            updater.update(job, bucket - this.#head);\n        }\n    }',
      ),
    ],
    within: 200,
  },
  {
    name: 'the whole gradient is accumulated and applied twice',
    edits: [
      pipeline(
        'updater.submit(job);',
        'updater.submit(job);\n        if (batch.step % 5 === 3) { await updater.drain(0); updater.submit(job); }',
      ),
    ],
    within: 1000,
  },
  {
    name: 'weights that are kept are not copied into the next model',
    edits: [
      {
        file: 'sync/dist/driver/nodeModels.js',
        from: 'if (next[bucket] !== current[bucket]) {',
        to: 'if (next[bucket] === undefined) {',
      },
    ],
    within: 1000,
  },
  {
    name: 'copies of weights are used again before they have left',
    edits: [pipeline('void Promise.all(left).then(() => {', 'void Promise.resolve().then(() => {')],
    within: 5000,
  },
  {
    name: 'frames of other sessions are taken by the coordinator',
    edits: [
      driver(
        'if (peer.session === 0 || header.session !== peer.session || !admits(this.#core, header))',
        'if (peer.session === 0)',
      ),
    ],
    within: 5000,
  },
  {
    name: 'frames of other sessions are taken by a node',
    edits: [nodeDriver('else if (nodeAdmits(this.#state, header))', 'else')],
    within: 5000,
  },
  {
    name: 'the starts of a coordinator are not counted',
    edits: [
      {
        file: 'cluster/dist/serve/incarnation.js',
        from: 'before >= 0 ? before : 0) + 1;',
        to: 'before >= 0 ? 0 : 0) + 1;',
      },
    ],
    within: 200,
  },
  {
    name: 'a node computes before all of the weights are there',
    edits: [
      reducer('return --this.#missing === 0 ?', 'return --this.#missing === (this.#buckets > 2 ? 1 : 0) ?'),
    ],
    within: 200,
  },
  {
    name: 'units that began early are used for another step',
    edits: [
      early('const isThis = expected?.step === step &&', 'const isThis = expected &&'),
      early(
        'this.#forget();\n        this.#openAll();\n        if (units.length > 0)',
        'if (units.length > 0)',
      ),
    ],
    within: 1000,
  },
  {
    name: 'gates are opened one bucket early',
    edits: [early('open(this.#base + this.#count);', 'open(this.#base + this.#count + 1);')],
    within: 1000,
  },
  {
    name: 'a unit’s vector is used again before it has left',
    edits: [
      nodeDriver(
        'void (connection?.flushed() ?? Promise.resolve()).then(() => {',
        'void Promise.resolve().then(() => {',
      ),
    ],
    within: 1000,
  },
  {
    name: 'a checkpoint is taken while a batch is under way',
    edits: [executor('while (this.#underWay > keep &&', 'while (this.#underWay > keep + 1 &&')],
    within: 200,
  },
  {
    name: 'a batch is given up after it has changed weights',
    edits: [
      pipeline(
        'this.#jobs.delete(step);',
        'this.#jobs.delete(step);\n        this.#batch = undefined;\n        await null;\n        await null;\n        await null;',
      ),
    ],
    within: 20_000,
  },
  {
    name: 'the rest of an optimizer step is given up though statistics have changed',
    edits: [pipeline('this.#isInGroup = job.update === undefined', 'this.#isInGroup = false')],
    within: 5000,
  },
  {
    name: 'sums of a batch are told twice',
    edits: [
      executor(
        'this.#done.push(this.#applied);\n        this.#underWay--;',
        'this.#done.push(this.#applied);\n        if (step === 2) this.#done.push(this.#applied);\n        this.#underWay--;',
      ),
    ],
    within: 200,
  },
  {
    name: 'a step that is whole by units of an earlier cut is waited for',
    edits: [driver("if (arrival.kind === 'kept' && arrival.isStepWhole)", 'if (false)')],
    within: 20_000,
    isRare: true,
  },
  {
    name: 'an older checkpoint is used though the newest is whole',
    edits: [
      store(
        'for (const sequence of (await this.#sequences()).reverse()) {\n            try {',
        'for (const sequence of await this.#sequences()) {\n            try {',
      ),
    ],
    within: 1000,
  },
  {
    name: 'a checkpoint has its name before its bytes last',
    edits: [store(SYNC_FILE, '')],
    within: 20_000,
  },
];

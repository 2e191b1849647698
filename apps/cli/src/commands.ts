/** The words that `lockstep` understands. What a command does is loaded when it is called: help must be quick. */
import { Argument, Command, Option } from 'commander';
import { TOKEN_VARIABLE } from './common/token.ts';
import { readVersion } from './common/version.ts';
import {
  atLeastZero,
  bandwidth,
  byteSize,
  collect,
  countList,
  interval,
  ownWorkerCount,
  part,
  path,
  portNumber,
  positiveNumber,
  slowLinks,
  stragglers,
  wholeNumber,
  workerCount,
  workerList,
} from './options.ts';

const KERNELS = ['auto', 'native', 'wasm', 'native-avx512', 'native-avx2', 'native-sse', 'native-neon'];

const kernelsOption = () =>
  new Option('--kernels <kind>', 'auto: the fastest here; native; wasm; or one variant by its name')
    .choices(KERNELS)
    .default('auto');

/** How to run: changes speed, never a bit of the result. */
const machineOptions = () => [
  new Option('--workers <n>', 'threads: a number, or auto for one per core')
    .argParser(workerCount)
    .default('auto'),
  kernelsOption(),
];

/** What to run: part of the definition, instead of the config's own. */
const definitionOptions = () => [
  new Option('--batch <n>', 'rows of a step').argParser(wholeNumber(1)),
  new Option('--shards <n>', 'virtual parts of a batch').argParser(wholeNumber(1)),
  new Option('--seed <n>', 'of weights, order of data and dropout').argParser(wholeNumber(0)),
];

const dataOption = () =>
  new Option('--data <dir>', 'folder with data: MNIST files, or what the config makes of it');

const tokenOptions = () => [
  new Option(
    '--token-file <file>',
    `a file with the token that nodes must know; or set ${TOKEN_VARIABLE}`,
  ).conflicts('token'),
  new Option(
    '--token <token>',
    'the token itself: other users of this machine can see it in its process list',
  ),
];

const cacheOption = () =>
  new Option('--cache <dir>', 'where data is kept for the next run; ~/.cache/lockstep if not given');
/** As the node's own default, which help is too quick to load. */
const DEFAULT_QUOTA = 10 * 2 ** 30;

const outputOptions = () => [
  new Option('--json', 'one JSON object per line on stdout, and nothing else'),
  new Option('--quiet', 'the result alone'),
];

/** The whole command line; `exit` gets the exit code of the command that ran. Throws CommanderError. */
export function commandLine(exit: (code: number) => void): Command {
  const program = new Command('lockstep')
    .description('Trains neural networks on every core: the same bits, whatever the number of workers.')
    .version(readVersion(), '--version')
    .helpOption('-h, --help', 'this text')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ outputError: () => {} });
  const command = (
    usage: string,
    description: string,
    options: readonly Option[],
    parent: Command = program,
  ): Command => {
    const made = parent.command(usage).description(description).allowExcessArguments(false);
    for (const option of options) {
      made.addOption(/<(dir|file)>/.test(option.flags) ? option.argParser(path) : option);
    }
    return made;
  };

  const trainingOptions = () => [
    new Option('--epochs <n>', 'passes over the training data').argParser(wholeNumber(1)),
    new Option('--steps <n>', 'stop after so many steps (the config’s epochs do not count then)').argParser(
      wholeNumber(1),
    ),
    ...definitionOptions(),
    dataOption(),
    new Option('--out <dir>', 'write weights.safetensors, metrics.jsonl and run.json there'),
    new Option(
      '--checkpoint-every <when>',
      'steps (500) or seconds (30s) between checkpoints in --out; 30s if not given',
    ).argParser(interval),
    new Option('--resume', 'go on from the last checkpoint in --out, to the same digest'),
    new Option('--fast-dev-run', 'two steps and one batch of validation, to see that all fits together'),
  ];

  const profileOption = () =>
    new Option(
      '--profile <file>',
      'write a trace of a few steps there (for Perfetto); show the costliest kernels',
    );

  command('train [config]', 'Train; without a config (and no lockstep.config.ts here) the embedded digits.', [
    ...machineOptions(),
    ...trainingOptions(),
    profileOption(),
    ...outputOptions(),
  ]).action(async (config: string | undefined, flags) => {
    const { trainCommand } = await import('./commands/train.ts');
    exit(await trainCommand(config, flags));
  });

  command('serve [config]', 'Train on this machine and on all that join: to the weights of `train`.', [
    new Option('--workers <n>', 'threads of this machine: a number (0: none), or auto for one per core')
      .argParser(ownWorkerCount)
      .default('auto'),
    kernelsOption(),
    new Option('--host <address>', 'where nodes connect; 0.0.0.0 for all addresses of this machine').default(
      '127.0.0.1',
    ),
    new Option('--port <n>', '0: any that is free').argParser(portNumber).default(7070),
    ...tokenOptions(),
    new Option('--tls', 'wss, with a certificate made at the start, which the join command pins').conflicts(
      'cert',
    ),
    new Option('--cert <file>', 'wss, with this certificate (PEM); needs --key'),
    new Option('--key <file>', 'the key of the certificate (PEM)'),
    new Option('--allow-host <name>', 'a further name by which nodes reach this machine; may be repeated')
      .argParser(collect)
      .default([]),
    new Option('--min-nodes <n>', 'wait for this many nodes before the first step, this machine included')
      .argParser(wholeNumber(1))
      .default(1),
    new Option('--heartbeat <ms>', 'between two pings; who misses two is lost')
      .argParser(wholeNumber(50))
      .default(1000),
    new Option(
      '--audit <part>',
      'of the nodes’ work that is computed a second time, 0 to 1; 0.02 if not given, 0 on a loopback address',
    ).argParser(part),
    ...trainingOptions(),
    profileOption(),
    ...outputOptions(),
  ]).action(async (config: string | undefined, flags) => {
    const { serveCommand } = await import('./commands/serve.ts');
    exit(await serveCommand(config, flags));
  });

  command('join <url>', 'Compute for a coordinator; `lockstep serve` prints the whole command.', [
    ...machineOptions(),
    ...tokenOptions(),
    new Option('--fingerprint <sha256>', 'of the certificate, for wss://'),
    new Option('--name <name>', 'for people; the name of this machine if not given'),
    new Option('--data <dir>', 'a folder that has the data already: a file of the same hash'),
    cacheOption(),
    new Option('--cache-quota <size>', 'the most that is kept there, the least recently used goes first')
      .argParser(byteSize)
      .default(DEFAULT_QUOTA, '10GiB'),
    ...outputOptions(),
  ]).action(async (url: string, flags) => {
    const { joinCommand } = await import('./commands/join.ts');
    exit(await joinCommand(url, flags));
  });

  command('eval [config]', 'Measure trained weights on the validation data.', [
    new Option('--run <dir>', 'the folder that `train --out` wrote').conflicts('weights'),
    new Option('--weights <file>', 'a safetensors file'),
    ...machineOptions(),
    ...definitionOptions(),
    dataOption(),
    ...outputOptions(),
  ]).action(async (config: string | undefined, flags) => {
    const { evalCommand } = await import('./commands/eval.ts');
    exit(await evalCommand(config, flags));
  });

  command('verify <dir> [config]', 'Recompute what `train --out` wrote there: do its digests hold?', [
    new Option('--sample <n>', 'this many steps from a random checkpoint on, instead of all').argParser(
      wholeNumber(1),
    ),
    new Option('--trace <file>', 'also write hashes of each shard and tensor, for --bisect elsewhere'),
    new Option(
      '--bisect <path>',
      'another run’s folder, or a trace: the first step, shard and tensor that differ',
    ),
    ...machineOptions(),
    dataOption(),
    ...outputOptions(),
  ]).action(async (folder: string, config: string | undefined, flags) => {
    const { verifyCommand } = await import('./commands/verify.ts');
    exit(await verifyCommand(folder, config, flags));
  });

  command('predict [config]', 'Runs a trained model on inputs: prints one JSON object per row.', [
    new Option('--run <dir>', 'the folder that `train --out` wrote').conflicts('weights'),
    new Option('--weights <file>', 'a safetensors file'),
    new Option('--input <files...>', 'images (.png), tables (.csv), arrays (.npy) or texts (.txt)').default(
      [],
    ),
    new Option('--text <texts...>', 'texts as they are').default([]),
    ...machineOptions(),
    dataOption(),
  ]).action(async (config: string | undefined, flags) => {
    const { predictCommand } = await import('./commands/predict.ts');
    exit(await predictCommand(config, flags));
  });

  command(
    'cache',
    'List what nodes on this machine keep for the next run; `lockstep cache clear` removes it.',
    [cacheOption(), new Option('--json', 'one JSON object')],
  )
    .addArgument(new Argument('[action]', 'what to do').choices(['list', 'clear']).default('list'))
    .action(async (action: 'list' | 'clear', flags) => {
      const { cacheCommand } = await import('./commands/cache.ts');
      exit(await cacheCommand(action, flags));
    });

  command('doctor', 'Show what this machine offers: cores, kernels and their speed, memory, versions.', [
    new Option('--json', 'one JSON object'),
  ]).action(async (flags) => {
    const { doctorCommand } = await import('./commands/doctor.ts');
    exit(await doctorCommand(flags));
  });

  const bench = program
    .command('bench')
    .description('Measure how training scales on this machine.')
    .helpCommand(false);
  command(
    'scaling [config]',
    'Throughput, efficiency and where the time goes, by the number of workers.',
    [
      new Option('--workers <list>', 'as 1,2,4; 1, 2, 4 … up to the cores if not given').argParser(
        workerList,
      ),
      new Option(
        '--nodes <list>',
        'also as so many processes of this machine that join over loopback',
      ).argParser(countList(64)),
      new Option('--strong', 'the same batch for all (this is the default)').conflicts('weak'),
      new Option('--weak', 'batch and shards grow with the workers'),
      new Option('--seconds <n>', 'to measure for, over all').argParser(positiveNumber).default(30),
      kernelsOption(),
      ...definitionOptions(),
      dataOption(),
      new Option('--out <dir>', 'write report.html and report.json there'),
      new Option('--json', 'one JSON object on stdout, and nothing else'),
    ],
    bench,
  ).action(async (config: string | undefined, flags) => {
    const { scalingCommand } = await import('./bench/scaling.ts');
    exit(await scalingCommand(config, flags));
  });
  command(
    'predict [config]',
    'Step time and efficiency of clusters that are not there, from costs measured here.',
    [
      new Option('--workers <list>', 'threads of each node, as 1,8').argParser(workerList).default([1], '1'),
      new Option('--nodes <list>', 'as 1,2,10; up to 10000')
        .argParser(countList(10_000))
        .default([1, 2, 4, 8], '1,2,4,8'),
      new Option(
        '--topology <kind>',
        'who sums gradients and updates: the coordinator, or each node its slice',
      )
        .choices(['star', 'sliced'])
        .default('star'),
      new Option('--bandwidth <bits>', 'of each link, each way, in a second')
        .argParser(bandwidth)
        .default(1e9, '1Gbit'),
      new Option('--latency <ms>', 'of each link, one way').argParser(atLeastZero).default(0.1),
      new Option('--strong', 'the same batch for all (this is the default)').conflicts('weak'),
      new Option('--weak', 'batch and shards grow with the workers'),
      new Option('--slow-links <what>', 'so many nodes with slower links, as 2x10Mbit').argParser(slowLinks),
      new Option('--stragglers <what>', 'how often a node is how many times slower, as 1%x3').argParser(
        stragglers,
      ),
      new Option('--failures <n>', 'of each machine, per hour').argParser(atLeastZero).default(0),
      new Option('--costs <file>', 'what --json printed before, here or elsewhere: nothing is measured'),
      new Option('--check', 'also measure whole steps here, and compare').conflicts('costs'),
      new Option('--seconds <n>', 'to measure for, over all').argParser(positiveNumber).default(15),
      kernelsOption(),
      ...definitionOptions(),
      dataOption(),
      new Option('--json', 'one JSON object on stdout, and nothing else'),
    ],
    bench,
  ).action(async (config: string | undefined, flags) => {
    const { predictCommand } = await import('./bench/predict/command.ts');
    exit(await predictCommand(config, flags));
  });
  command(
    'compare <before> <after>',
    'What changed between two report.json, and by how many times the noise.',
    [new Option('--json', 'one JSON object')],
    bench,
  ).action(async (before: string, after: string, flags) => {
    const { compareCommand } = await import('./bench/compare.ts');
    exit(compareCommand(before, after, flags));
  });
  return program;
}

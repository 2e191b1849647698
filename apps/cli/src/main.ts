#!/usr/bin/env node
/** The `lockstep` command. */
import { run } from './index.ts';

process.exitCode = await run(process.argv.slice(2));

/** `npm run example NAME [-- OPTIONS]`: makes the workspace ready, then runs an example of `apps/examples`. */
import { bootstrap } from './bootstrap.mjs';

await bootstrap();
await import(new URL('../apps/examples/run.mjs', import.meta.url).href);

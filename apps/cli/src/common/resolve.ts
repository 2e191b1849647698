/** A hook of Node's module loader: names that a config may import although no node_modules has them. */
import type { InitializeHook, ResolveHook } from 'node:module';

let known: Readonly<Record<string, string>> = {};

export const initialize: InitializeHook<Readonly<Record<string, string>>> = (data) => {
  known = data;
};

export const resolve: ResolveHook = (specifier, context, next) => {
  const url = known[specifier];
  return url === undefined ? next(specifier, context) : { url, shortCircuit: true };
};

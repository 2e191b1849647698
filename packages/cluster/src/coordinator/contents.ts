/** What nodes fetch: the program and the data, for all of them and for the node of this process. */
import type { Dataset } from '@lockstep/data';
import type { NodeOptions } from '../node/node.ts';
import { encodeBundle, type makeBundle } from '../wire/bundle.ts';
import { Pieces } from '../wire/byteParts.ts';
import { columnsOf, encodeData } from '../wire/dataImage.ts';

/** With these, a node fetches nothing. */
export type OwnContents = Required<Pick<NodeOptions, 'store' | 'data'>>;

export function contentsOf(bundle: ReturnType<typeof makeBundle>, data: Dataset) {
  const columns = columnsOf(data);
  const program = encodeBundle(bundle);
  const contents = { program: new Pieces(program), data: new Pieces(...encodeData(columns)) };
  const own: OwnContents = {
    store: {
      get: async (hash) => (hash === contents.program.hash ? program : undefined),
      put: async () => {},
    },
    data: { hash: contents.data.hash, columns },
  };
  return { contents, own };
}

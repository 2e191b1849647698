/**
 * Hosts of a small network, as network namespaces: a coordinator, nodes, and a router between them. The coordinator has
 * one link, which all nodes share.
 *
 *   coordinator 10.77.0.1 ══ link ══ router ── cable 1 ── node 1 (10.77.1.1)
 *                                           └─ cable 2 ── node 2 (10.77.2.1)
 *
 * Needs the right to make namespaces (CAP_NET_ADMIN and CAP_SYS_ADMIN) and `ip` and `tc` of iproute2.
 */
import { spawnSync } from 'node:child_process';

/** An Ethernet address that nobody has: frames for it are dropped by whoever gets them, without a word. */
const NOBODY = '02:00:00:00:00:99';

const run = (words: string): string => {
  const [program = '', ...rest] = words.split(' ');
  const { status, stdout, stderr, error } = spawnSync(program, rest, { encoding: 'utf8' });
  if (error !== undefined) throw new Error(`${words}: ${error.message}`);
  if (status !== 0) throw new Error(`${words}: ${stderr.trim()}`);
  return stdout;
};

/** Why there can be no such network here; undefined when there can. */
export const whyNoLan = (): string | undefined => {
  try {
    const lan = new Lan(1);
    try {
      lan.shape('1gbit');
    } finally {
      lan.remove();
    }
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
};

export class Lan {
  readonly host = '10.77.0.1';
  readonly #prefix = `ls${process.pid}`;
  readonly #hosts: readonly string[];

  constructor(nodes: number) {
    const numbers = Array.from({ length: nodes }, (_, i) => i + 1);
    this.#hosts = ['router', 'coordinator', ...numbers.map((i) => `node${i}`)];
    try {
      for (const host of this.#hosts) {
        run(`ip netns add ${this.#name(host)}`);
        this.#in(host, 'ip link set lo up');
      }
      for (const i of [0, ...numbers]) this.#plug(i);
      run(`ip netns exec ${this.#name('router')} sysctl -qw net.ipv4.ip_forward=1`);
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** Words before a command that is to run on a host: `coordinator`, `node1`, … */
  on(host: string): readonly string[] {
    return ['ip', 'netns', 'exec', this.#name(host)];
  }

  /** The coordinator's link, both ways: this much and no more (as `tc` writes rates). */
  shape(rate: string): void {
    const shaper = `tbf rate ${rate} burst 128k latency 100ms`;
    this.#in('coordinator', `tc qdisc replace dev eth root ${shaper}`);
    this.#in('router', `tc qdisc replace dev to0 root ${shaper}`);
  }

  /** Pulls the cable of a node, or plugs it in again. */
  cable(node: number, isIn: boolean): void {
    this.#in('router', `ip link set to${node} ${isIn ? 'up' : 'down'}`);
  }

  /** What a node sends (`up`), or what is sent to it (`down`), vanishes; the other direction is whole. */
  blackHole(node: number, direction: 'up' | 'down'): void {
    const [host, device, next] = way(node, direction);
    this.#in(host, `ip neigh replace ${next} lladdr ${NOBODY} dev ${device} nud permanent`);
  }

  heal(node: number, direction: 'up' | 'down'): void {
    const [host, device, next] = way(node, direction);
    this.#in(host, `ip neigh del ${next} dev ${device}`);
  }

  /**
   * Bytes that the coordinator has sent and received since its link was shaped, as the shaper counts them: with the headers of
   * every packet. (An interface counts the large segments before they are cut into packets: 4 % less.)
   */
  bytes(): { readonly sent: number; readonly received: number } {
    const read = (host: string, device: string): number => {
      const [, bytes] = /Sent (\d+) bytes/.exec(this.#in(host, `tc -s qdisc show dev ${device} root`)) ?? [];
      return Number(bytes);
    };
    return { sent: read('coordinator', 'eth'), received: read('router', 'to0') };
  }

  remove(): void {
    for (const host of this.#hosts) spawnSync('ip', ['netns', 'del', this.#name(host)]);
  }

  #plug(i: number): void {
    const [host, router] = [this.#name(i === 0 ? 'coordinator' : `node${i}`), this.#name('router')];
    run(`ip link add eth netns ${host} type veth peer name to${i} netns ${router}`);
    run(`ip -n ${host} addr add 10.77.${i}.1/24 dev eth`);
    run(`ip -n ${router} addr add 10.77.${i}.254/24 dev to${i}`);
    run(`ip -n ${host} link set eth up`);
    run(`ip -n ${router} link set to${i} up`);
    run(`ip -n ${host} route add default via 10.77.${i}.254`);
  }

  #in(host: string, words: string): string {
    return run(`ip netns exec ${this.#name(host)} ${words}`);
  }

  #name(host: string): string {
    return `${this.#prefix}-${host}`;
  }
}

const way = (
  node: number,
  direction: 'up' | 'down',
): readonly [host: string, device: string, next: string] =>
  direction === 'up'
    ? [`node${node}`, 'eth', `10.77.${node}.254`]
    : ['router', `to${node}`, `10.77.${node}.1`];

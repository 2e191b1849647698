/**
 * Elementwise chains: a machine whose registers are tiles of LS_TILE lanes in L1. All steps of the chain run over a
 * tile before the next one, so memory is read and written once for the whole chain. Encoding and semantics (journal
 * included): ELEMENTWISE in `src/instructions/instructions.ts`; what a step does: `steps.h`.
 */
#include "steps.h"

#define MAX_RANK 8
#define MAX_SLOTS 64
enum { CONTIGUOUS, SCALAR, STRIDED };

/** What the host reads and a second run goes on from; see `commit` and `resume`. */
typedef struct {
  uint32_t tick, progress, not_finite;
} Journal;

typedef struct {
  Address address;
  uint32_t kind, strides[]; /* a stride for each dimension */
} Input;

typedef struct {
  size_t total;
  uint32_t rank, inputs, registers, outputs, steps;
  const uint32_t *dims;
  const uint32_t *input; /* an Input each, of 3 + rank words */
  const Step *step;
  const Address *output;
  float *scratch;
} Chain;

/** Tile of a slot in scratch. */
LS_INLINE float *slot_tile(const Chain *chain, uint32_t slot) { return chain->scratch + (size_t)slot * LS_TILE; }
LS_INLINE const Input *input_at(const Chain *chain, uint32_t i) {
  return (const Input *)(chain->input + i * (3 + chain->rank));
}

static void fill(float *d, float x, size_t n) {
  for (size_t i = 0; i < n; i++) d[i] = x;
}

static void copy(float *restrict d, const float *restrict s, size_t n) {
  __builtin_memcpy(d, s, n * sizeof(float));
}

/** Lanes before a strided input repeats itself: the extent of all dims from the first that moves on. */
static size_t period_of(const uint32_t *dims, const uint32_t *strides, uint32_t rank) {
  uint32_t first = 0;
  while (first < rank && (strides[first] == 0 || dims[first] == 1)) first++;
  size_t period = 1;
  for (uint32_t r = first; r < rank; r++) period *= dims[r];
  return period;
}

/** n lanes of a walk with one stride. */
LS_INLINE void copy_run(float *d, const float *s, size_t stride, size_t n) {
  if (stride == 0) {
    const float x = *s;
    for (size_t i = 0; i < n; i++) d[i] = x;
  } else {
    for (size_t i = 0; i < n; i++) d[i] = s[i * stride];
  }
}

/**
 * Lanes [start, start + n) of a strided input: where they lie in one piece, else gathered into `tile`. Runs along the
 * last dimension; what repeats within the tile (a broadcast bias) is gathered once and doubled.
 */
static const float *gather(const Chain *chain, const float *source, const uint32_t *strides, float *tile, size_t start,
                           size_t n) {
  const uint32_t *dims = chain->dims;
  const uint32_t last = chain->rank - 1;
  size_t index[MAX_RANK], rest = start;
  const float *p = source;
  for (uint32_t r = chain->rank; r-- > 0; rest /= dims[r]) {
    index[r] = rest % dims[r];
    p += index[r] * strides[r];
  }
  size_t run = dims[last] - index[last];
  if (strides[last] == 1 && run >= n && n % LS_W == 0) return p;

  const size_t distinct = ls_min(n, period_of(dims, strides, chain->rank));
  for (size_t done = 0; done < distinct;) {
    run = ls_min(run, distinct - done);
    if (strides[last] == 1 && run >= 16) copy(tile + done, p, run);
    else copy_run(tile + done, p, strides[last], run);
    done += run;
    p -= index[last] * strides[last];
    index[last] = 0;
    for (uint32_t r = last; r-- > 0;) {
      p += strides[r];
      if (++index[r] < dims[r]) break;
      p -= index[r] * (size_t)strides[r];
      index[r] = 0;
    }
    run = dims[last];
  }
  for (size_t done = distinct; done < n; done *= 2) copy(tile + done, tile, ls_min(done, n - done));
  return tile;
}

/** Points the input slots at lanes [start, start + n); the steps will read whole vectors. */
static void load_inputs(const Ctx *ctx, const Chain *chain, float **slots, size_t start, size_t n, int first) {
  for (uint32_t i = 0; i < chain->inputs; i++) {
    const Input *in = input_at(chain, i);
    const float *source = ls_at(ctx, in->address);
    if (in->kind == SCALAR) continue;
    if (in->kind == STRIDED) {
      if (!first && LS_TILE % period_of(chain->dims, in->strides, chain->rank) == 0) continue; /* the same lanes again */
      slots[i] = (float *)gather(chain, source, in->strides, slot_tile(chain, i), start, n);
    } else if (n % LS_W == 0) {
      slots[i] = (float *)source + start;
    } else {
      slots[i] = slot_tile(chain, i);
      copy(slots[i], source + start, n);
    }
  }
}

/** Fills what stays the same in all tiles: scalar inputs and constants. */
static void load_constants(const Ctx *ctx, const Chain *chain, size_t lanes) {
  for (uint32_t i = 0; i < chain->inputs; i++) {
    const Input *in = input_at(chain, i);
    if (in->kind == SCALAR) fill(slot_tile(chain, i), *(const float *)ls_at(ctx, in->address), lanes);
  }
  for (uint32_t s = 0; s < chain->steps; s++) {
    const Step *step = chain->step + s;
    if (step->op == MICRO_constant) fill(slot_tile(chain, step->dst), step->imm, lanes);
  }
}

/** The arrays that are walked through tile by tile, and the position of the tile after this one. */
typedef struct {
  const float *array[MAX_SLOTS];
  size_t count, ahead;
} Streams;

/** Contiguous inputs and outputs, each array once. */
static void find_streams(const Ctx *ctx, const Chain *chain, Streams *streams) {
  streams->count = 0;
  if (chain->total <= LS_TILE) return;
  for (uint32_t i = 0; i < chain->inputs + chain->outputs; i++) {
    const int is_input = i < chain->inputs;
    if (is_input && input_at(chain, i)->kind != CONTIGUOUS) continue;
    const float *array = ls_at(ctx, is_input ? input_at(chain, i)->address : chain->output[i - chain->inputs]);
    size_t known = 0;
    while (known < streams->count && streams->array[known] != array) known++;
    if (known == streams->count) streams->array[streams->count++] = array;
  }
}

#define PIECE (LS_TILE / 4)
/** Asks for a quarter of a stream's next tile (WASM has no such instruction). */
LS_INLINE void prefetch(const Streams *streams, size_t piece) {
  const float *p = streams->array[piece / 4] + streams->ahead + piece % 4 * PIECE;
  for (int i = 0; i < PIECE; i += 16) __builtin_prefetch(p + i);
}

/** All steps over n lanes. They work in L1 and leave the memory idle: meanwhile the next tile is fetched. */
static void run_steps(const Chain *chain, float *const *slots, size_t n, const Streams *streams) {
  const size_t lanes = (n + LS_W - 1) / LS_W * LS_W;
  const size_t pieces = streams->ahead < chain->total ? 4 * streams->count : 0;
  size_t piece = 0;
  for (uint32_t s = 0; s < chain->steps; s++) {
    const Step *step = chain->step + s;
    for (; piece * chain->steps < pieces * (s + 1); piece++) prefetch(streams, piece);
    if (s + 1 < chain->steps && is_sloped(step, step + 1)) {
      run_sloped(step->op, slots[step->dst], slots[step[1].dst], slots[step->a], lanes);
      s++;
    } else if (step->op != MICRO_constant) {
      run_step(step->op, slots[step->dst], slots[step->a], slots[step->b], slots[step->c], lanes);
    }
  }
}

/** Copies n lanes of the outputs from scratch to their places. */
static void copy_outputs(const Ctx *ctx, const Chain *chain, size_t start, size_t n) {
  for (uint32_t o = 0; o < chain->outputs; o++) {
    float *target = ls_at(ctx, chain->output[o]);
    copy(target + start, slot_tile(chain, chain->inputs + chain->registers + o), n);
  }
}

static int outputs_finite(const Chain *chain, size_t n) {
  vi bad = {0};
  for (uint32_t o = 0; o < chain->outputs; o++) {
    const float *tile = slot_tile(chain, chain->inputs + chain->registers + o);
    size_t i = 0;
    for (; i + LS_W <= n; i += LS_W) bad |= ~ls_is_finite(ls_load(tile + i));
    if (i < n) bad |= ~ls_is_finite(ls_load_part(tile + i, n - i));
  }
  return !ls_any(bad);
}

/**
 * Sets a journal word after everything before and before everything after it: the thread may be ended at any point,
 * and what it had stored by then must be a prefix of the program.
 */
LS_INLINE void journal_set(uint32_t *word, uint32_t value) {
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/** The tile to start at: 0 for a new tick, else where an earlier call was cut off, its half-copied tile mended. */
static size_t resume(const Ctx *ctx, const Chain *chain, Journal *journal, uint32_t tick) {
  if (journal->tick != tick) {
    journal_set(&journal->progress, 0);
    journal_set(&journal->tick, tick);
    return 0;
  }
  const size_t tiles = (chain->total + LS_TILE - 1) / LS_TILE;
  size_t tile = journal->progress / 2;
  if (tile >= tiles) return tiles; /* done, or a journal that is none: it is memory, and memory is not validated */
  if (journal->progress & 1) {
    const size_t start = tile * LS_TILE;
    copy_outputs(ctx, chain, start, ls_min(LS_TILE, chain->total - start));
    journal_set(&journal->progress, (uint32_t)(2 * ++tile));
  }
  return tile;
}

/** Copies a computed tile out, unless some output of it is not finite. */
static void commit(const Ctx *ctx, const Chain *chain, Journal *journal, size_t start, size_t n) {
  const uint32_t progress = (uint32_t)(start / LS_TILE * 2);
  if (outputs_finite(chain, n)) {
    journal_set(&journal->progress, progress + 1);
    copy_outputs(ctx, chain, start, n);
  } else {
    journal_set(&journal->not_finite, 1);
  }
  journal_set(&journal->progress, progress + 2);
}

/** Behind the operands lie the dimensions, the inputs, the steps and the outputs. */
static Chain decode(const Ctx *ctx, const Op_elementwise *op) {
  Chain chain = {.total = op->total, .rank = op->rank, .inputs = op->inputs, .registers = op->registers,
                 .outputs = op->outputs, .steps = op->steps, .dims = (const uint32_t *)(op + 1)};
  chain.scratch = ls_at(ctx, op->scratch);
  chain.input = chain.dims + chain.rank;
  chain.step = (const Step *)(chain.input + chain.inputs * (3 + chain.rank));
  chain.output = (const Address *)(chain.step + chain.steps);
  return chain;
}

LS_KERNEL(elementwise) {
  const Chain chain = decode(ctx, op);
  Journal *journal = ls_absent(op->journal) ? 0 : ls_at(ctx, op->journal);
  const size_t first = journal ? resume(ctx, &chain, journal, *(const uint32_t *)ls_at(ctx, op->tick)) * LS_TILE : 0;
  if (first >= chain.total) return;

  const uint32_t first_output = chain.inputs + chain.registers;
  float *slots[MAX_SLOTS];
  for (uint32_t s = 0; s < first_output + chain.outputs; s++) slots[s] = slot_tile(&chain, s);
  Streams streams;
  find_streams(ctx, &chain, &streams);
  load_constants(ctx, &chain, ls_min(LS_TILE, (chain.total + LS_W - 1) / LS_W * LS_W));

  for (size_t start = first; start < chain.total; start += LS_TILE) {
    const size_t n = ls_min(LS_TILE, chain.total - start);
    const int direct = !journal && n % LS_W == 0;
    load_inputs(ctx, &chain, slots, start, n, start == first);
    for (uint32_t o = 0; o < chain.outputs; o++) {
      float *target = ls_at(ctx, chain.output[o]);
      slots[first_output + o] = direct ? target + start : slot_tile(&chain, first_output + o);
    }
    streams.ahead = start + LS_TILE;
    run_steps(&chain, slots, n, &streams);
    if (journal) commit(ctx, &chain, journal, start, n);
    else if (!direct) copy_outputs(ctx, &chain, start, n);
  }
}

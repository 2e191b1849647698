/**
 * Runs programs on the kernels under AddressSanitizer and UBSan: what `fuzz/harness.ts` sends to standard input, on every
 * variant that this CPU has. Not part of the shipped kernels.
 *
 * All memory is poisoned but for what the instruction that runs now says it touches: its own words, the table of bases, and
 * its extents. So a kernel that goes beyond an extent by a word is reported, even within its region. What an extent only reads must
 * not change either. An extent that begins in the middle of 8 bytes has up to 4 bytes of slack before it.
 *
 * Input, in 32-bit little-endian words, for each program: MAGIC, regions R, instructions N, seed; per region its bytes and what
 * it holds (see `fill`); per instruction its length L, extents E, L words, and E times region, offset, bytes, writes.
 * Output, when the input ends: one line of JSON with counts.
 */
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x4c46535au
#define MEMORY (96u << 20)
#define MAX_REGIONS 512
#define MAX_WORDS 4096
#define MAX_EXTENTS 256
/** Between regions, in bytes: more than the widest tile reads at once. */
#define GAP 512
/** A program that runs longer than this hangs, in seconds. */
#define LIMIT 120

typedef int32_t Run(uint8_t *mem, uint32_t code, uint32_t from, uint32_t to, uint32_t bases);

#if defined(__x86_64__)
Run ls_avx512_run, ls_avx2_run, ls_sse_run;
static const struct { const char *name; Run *run; } variants[] = {{"sse", ls_sse_run}, {"avx2", ls_avx2_run}, {"avx512", ls_avx512_run}};
static int supported(int i) {
  __builtin_cpu_init();
  if (i == 2)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
  return i == 0 || __builtin_cpu_supports("avx2");
}
#else
Run ls_neon_run;
static const struct { const char *name; Run *run; } variants[] = {{"neon", ls_neon_run}};
static int supported(int i) { return i == 0; }
#endif
#define VARIANTS ((int)(sizeof variants / sizeof *variants))

typedef struct {
  uint32_t bytes, holds, at;
} Region;
typedef struct {
  uint32_t region, offset, bytes, writes;
} Extent;

static uint8_t *memory;
static Region regions[MAX_REGIONS];
static uint32_t words[MAX_WORDS], before[MEMORY / 4];
static Extent extents[MAX_EXTENTS];
static unsigned long long programs, instructions, runs;
static const char *variant = "none";
static uint32_t opcode;

static void where(void) {
  fprintf(stderr, "\nharness: program %llu, opcode %u, variant %s\n", programs, opcode, variant);
}

static void fail(const char *why) {
  fprintf(stderr, "harness: %s\n", why);
  where();
  exit(3);
}

static int read_words(void *to, size_t count) {
  const size_t got = fread(to, 4, count, stdin);
  if (got != count && (got != 0 || count == 0)) fail("the input is cut off");
  return got == count;
}

static void need_words(void *to, size_t count) {
  if (count > 0 && !read_words(to, count)) fail("the input is cut off");
}

static uint32_t state;
static uint32_t next_random(void) {
  state ^= state << 13, state ^= state >> 17, state ^= state << 5;
  return state;
}

/** 0: numbers; 1: small whole numbers, as indexes; 2: any bits; 3: zeros; 4: a mixture word by word; 5: what was there. */
static void fill(uint8_t *to, uint32_t bytes, uint32_t holds) {
  if (holds == 5) return;
  for (uint32_t i = 0; i + 4 <= bytes; i += 4) {
    const uint32_t r = next_random();
    const uint32_t kind = holds == 4 ? r >> 29 : holds;
    const float number = ((float)(r >> 8) / (1 << 22) - 2) * ((r & 7) == 0 ? 1e6f : 1);
    uint32_t word = r;
    if (kind == 0 || kind >= 5) memcpy(&word, &number, 4);
    if (kind == 1) word = r % 16;
    if (kind == 3) word = 0;
    memcpy(to + i, &word, 4);
  }
  for (uint32_t i = bytes / 4 * 4; i < bytes; i++) to[i] = (uint8_t)next_random();
}

static uint32_t take(uint32_t *top, uint32_t bytes) {
  const uint32_t at = *top;
  *top += (bytes + 7) / 8 * 8;
  if (*top > MEMORY - GAP) fail("the regions do not fit the memory");
  return at;
}

/** The extents of one instruction become accessible, or poisoned again. */
static void allow(uint32_t count, int accessible) {
  for (uint32_t e = 0; e < count; e++) {
    const Extent *x = extents + e;
    uint8_t *p = memory + regions[x->region].at + x->offset;
    if (x->bytes == 0) continue;
    if (accessible) ASAN_UNPOISON_MEMORY_REGION(p, x->bytes);
    else ASAN_POISON_MEMORY_REGION((uint8_t *)((uintptr_t)p & ~(uintptr_t)7), (x->bytes + 15) / 8 * 8);
  }
}

static int is_written(uint32_t count, const Extent *read) {
  for (uint32_t e = 0; e < count; e++) {
    const Extent *x = extents + e;
    const int overlaps = x->region == read->region && x->offset < read->offset + read->bytes && read->offset < x->offset + x->bytes;
    if (x->writes && overlaps) return 1;
  }
  return 0;
}

/** Keeps what is only read (to[0] words of it), or compares with what was kept. */
static void each_read(uint32_t count, int compare) {
  uint8_t *kept = (uint8_t *)before;
  for (uint32_t e = 0; e < count; e++) {
    const Extent *x = extents + e;
    if (x->writes || x->bytes == 0 || is_written(count, x)) continue;
    if (kept + x->bytes > (uint8_t *)before + sizeof before) fail("too much is read");
    const uint8_t *p = memory + regions[x->region].at + x->offset;
    if (compare && memcmp(kept, p, x->bytes) != 0) fail("an operand that is only read was changed");
    if (!compare) memcpy(kept, p, x->bytes);
    kept += x->bytes;
  }
}

static void run_instruction(int v, uint32_t length, uint32_t count, uint32_t code, uint32_t bases) {
  uint32_t *at = (uint32_t *)(memory + code);
  ASAN_UNPOISON_MEMORY_REGION(at, length * 4);
  memcpy(at, words, length * 4);
  allow(count, 1);
  each_read(count, 0);
  const int32_t status = variants[v].run(memory, code, 0, length, bases);
  if (status < 0) fail("unknown instruction");
  each_read(count, 1);
  if (memcmp(at, words, length * 4) != 0) fail("the code was changed");
  allow(count, 0);
  ASAN_POISON_MEMORY_REGION(at, (length * 4 + 7) / 8 * 8);
  runs++;
}

static void run_program(void) {
  uint32_t head[3];
  need_words(head, 3);
  const uint32_t region_count = head[0], instruction_count = head[1], seed = head[2];
  if (region_count > MAX_REGIONS) fail("too many regions");
  uint32_t top = GAP;
  const uint32_t bases = take(&top, region_count * 4);
  top += GAP;
  const uint32_t code = take(&top, MAX_WORDS * 4);
  uint32_t *table = (uint32_t *)(memory + bases);
  ASAN_UNPOISON_MEMORY_REGION(table, region_count * 4);
  for (uint32_t r = 0; r < region_count; r++) {
    Region *region = regions + r;
    need_words(region, 2);
    /* No region is aligned to a vector on purpose. */
    top += GAP + 8 * ((seed + 3 * r) % 8);
    region->at = take(&top, region->bytes), table[r] = region->at;
    uint8_t *p = memory + region->at;
    ASAN_UNPOISON_MEMORY_REGION(p, region->bytes);
    state = seed * 2654435761u + r * 40503u + 1;
    if (state == 0) state = 1;
    fill(p, region->bytes < 262144 ? region->bytes : 262144, region->holds);
    ASAN_POISON_MEMORY_REGION(p, (region->bytes + 7) / 8 * 8);
  }
  for (uint32_t i = 0; i < instruction_count; i++) {
    uint32_t sizes[2];
    need_words(sizes, 2);
    if (sizes[0] > MAX_WORDS || sizes[1] > MAX_EXTENTS) fail("an instruction is too long");
    need_words(words, sizes[0]);
    need_words(extents, sizes[1] * 4);
    for (uint32_t e = 0; e < sizes[1]; e++) {
      const Extent *x = extents + e;
      if (x->region >= region_count || (uint64_t)x->offset + x->bytes > regions[x->region].bytes) fail("an extent leaves its region");
    }
    opcode = words[0];
    /* One after the other: what the first writes in place, the next reads. */
    for (int v = 0; v < VARIANTS; v++) {
      if (!supported(v)) continue;
      variant = variants[v].name;
      run_instruction(v, sizes[0], sizes[1], code, bases);
    }
    instructions++;
  }
  ASAN_POISON_MEMORY_REGION(table, (region_count * 4 + 7) / 8 * 8);
  programs++;
}

int main(void) {
  memory = malloc(MEMORY);
  if (!memory) fail("no memory");
  __sanitizer_set_death_callback(where);
  ASAN_POISON_MEMORY_REGION(memory, MEMORY);
  for (uint32_t magic; read_words(&magic, 1);) {
    if (magic != MAGIC) fail("not a program");
    alarm(LIMIT);
    run_program();
  }
  printf("{\"programs\":%llu,\"instructions\":%llu,\"runs\":%llu,\"variants\":[", programs, instructions, runs);
  for (int v = 0, first = 1; v < VARIANTS; v++)
    if (supported(v)) printf("%s\"%s\"", first ? "" : ",", variants[v].name), first = 0;
  printf("]}\n");
  return 0;
}

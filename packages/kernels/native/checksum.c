/**
 * CRC-32 (the one of zlib, PNG and Ethernet: polynomial 0x04c11db7, reflected) by folding: 256 or 64 bytes at a time are
 * multiplied, without carries, by x^n mod P and added to what comes n bits later. After V. Gopal et al., "Fast CRC computation
 * for generic polynomials using PCLMULQDQ" (Intel, 2009). No kernel: frames on the wire carry it. x86-64 alone.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

uint32_t ls_crc32(uint32_t crc, const uint8_t *bytes, size_t count);
int ls_crc32_supported(void);

/** What a half byte makes of a state of 0. */
static const uint32_t nibbles[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                     0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                     0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};

static uint32_t plain(uint32_t state, const uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    state ^= bytes[i];
    state = (state >> 4) ^ nibbles[state & 15];
    state = (state >> 4) ^ nibbles[state & 15];
  }
  return state;
}

/** x^(n + 32) and x^(n - 32) mod P, reflected and shifted by one: what moves 128 bits by n bits. */
#define BY_128 0x1751997d0, 0xccaa009e
#define BY_512 0x154442bd4, 0x1c6e41596
#define BY_2048 0x11542778a, 0x1322d1430

#define NARROW __attribute__((target("sse4.1,pclmul")))
#define WIDE __attribute__((target("avx512f,avx512vl,pclmul,vpclmulqdq")))

NARROW static inline __m128i factors(long long low, long long high) { return _mm_set_epi64x(high, low); }
NARROW static inline __m128i load(const uint8_t *bytes) { return _mm_loadu_si128((const __m128i *)bytes); }

NARROW static inline __m128i fold(__m128i a, __m128i by, __m128i next) {
  const __m128i low = _mm_clmulepi64_si128(a, by, 0x00), high = _mm_clmulepi64_si128(a, by, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/** The 128 bits that stand for all before, then what is left. */
NARROW static uint32_t finish(__m128i a, const uint8_t *bytes, size_t count) {
  const __m128i by = factors(BY_128);
  for (; count >= 16; bytes += 16, count -= 16) a = fold(a, by, load(bytes));
  uint8_t last[16];
  _mm_storeu_si128((__m128i *)last, a);
  return plain(plain(0, last, 16), bytes, count);
}

NARROW static uint32_t narrow(uint32_t state, const uint8_t *bytes, size_t count) {
  const __m128i by = factors(BY_512), next = factors(BY_128);
  __m128i a = _mm_xor_si128(load(bytes), _mm_cvtsi32_si128((int)state));
  __m128i b = load(bytes + 16), c = load(bytes + 32), d = load(bytes + 48);
  for (bytes += 64, count -= 64; count >= 64; bytes += 64, count -= 64) {
    a = fold(a, by, load(bytes));
    b = fold(b, by, load(bytes + 16));
    c = fold(c, by, load(bytes + 32));
    d = fold(d, by, load(bytes + 48));
  }
  return finish(fold(fold(fold(a, next, b), next, c), next, d), bytes, count);
}

WIDE static inline __m512i foldWide(__m512i a, __m512i by, __m512i next) {
  const __m512i low = _mm512_clmulepi64_epi128(a, by, 0x00), high = _mm512_clmulepi64_epi128(a, by, 0x11);
  return _mm512_ternarylogic_epi64(low, high, next, 0x96);
}

WIDE static uint32_t wide(uint32_t state, const uint8_t *bytes, size_t count) {
  const __m512i by = _mm512_broadcast_i32x4(factors(BY_2048)), next = _mm512_broadcast_i32x4(factors(BY_512));
  const __m128i by128 = factors(BY_128);
  const __m512i first = _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)state));
  __m512i a = _mm512_xor_si512(_mm512_loadu_si512(bytes), first), b = _mm512_loadu_si512(bytes + 64);
  __m512i c = _mm512_loadu_si512(bytes + 128), d = _mm512_loadu_si512(bytes + 192);
  for (bytes += 256, count -= 256; count >= 256; bytes += 256, count -= 256) {
    a = foldWide(a, by, _mm512_loadu_si512(bytes));
    b = foldWide(b, by, _mm512_loadu_si512(bytes + 64));
    c = foldWide(c, by, _mm512_loadu_si512(bytes + 128));
    d = foldWide(d, by, _mm512_loadu_si512(bytes + 192));
  }
  d = foldWide(foldWide(foldWide(a, next, b), next, c), next, d);
  __m128i x = fold(_mm512_extracti32x4_epi32(d, 0), by128, _mm512_extracti32x4_epi32(d, 1));
  x = fold(fold(x, by128, _mm512_extracti32x4_epi32(d, 2)), by128, _mm512_extracti32x4_epi32(d, 3));
  return finish(x, bytes, count);
}

int ls_crc32_supported(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("pclmul");
}

/** The checksum of all bytes so far, those of `crc` first. */
uint32_t ls_crc32(uint32_t crc, const uint8_t *bytes, size_t count) {
  const int isWide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                     __builtin_cpu_supports("vpclmulqdq");
  if (count >= 256 && isWide) return ~wide(~crc, bytes, count);
  return ~(count >= 64 ? narrow(~crc, bytes, count) : plain(~crc, bytes, count));
}
#endif

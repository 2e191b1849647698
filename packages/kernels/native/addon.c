/**
 * Node's side of the native kernels: `variants()` lists those that this CPU can run, best first, and
 * `run(variant, memory, code, from, to, bases)` calls an executor on a Uint8Array over the whole shared memory.
 * `crc32(bytes, crc)` is there where this CPU multiplies without carries. Without state, so that any number of worker threads
 * can load it.
 */
#include <node_api.h>
#include <stdint.h>

typedef int32_t Run(uint8_t *mem, uint32_t code, uint32_t from, uint32_t to, uint32_t bases);

typedef struct {
  const char *name;
  Run *run;
} Variant;

#if defined(__x86_64__)
Run ls_avx512_run, ls_avx2_run, ls_sse_run;
static const Variant variants[] = {{"native-avx512", ls_avx512_run}, {"native-avx2", ls_avx2_run}, {"native-sse", ls_sse_run}};

static int supported(uint32_t i) {
  __builtin_cpu_init();
  if (i == 0)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
  if (i == 1) return __builtin_cpu_supports("avx2");
  return 1;
}
#else
Run ls_neon_run;
static const Variant variants[] = {{"native-neon", ls_neon_run}};
static int supported(uint32_t i) { return i == 0; }
#endif

#define COUNT (sizeof variants / sizeof *variants)

/** variants(): { name, id }[] */
static napi_value listVariants(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value list;
  uint32_t length = 0;
  if (napi_create_array(env, &list) != napi_ok) return NULL;
  for (uint32_t i = 0; i < COUNT; i++) {
    if (!supported(i)) continue;
    napi_value entry, name, id;
    napi_create_object(env, &entry);
    napi_create_string_utf8(env, variants[i].name, NAPI_AUTO_LENGTH, &name);
    napi_create_uint32(env, i, &id);
    napi_set_named_property(env, entry, "name", name);
    napi_set_named_property(env, entry, "id", id);
    napi_set_element(env, list, length++, entry);
  }
  return list;
}

static napi_value run(napi_env env, napi_callback_info info) {
  napi_value args[6];
  size_t count = 6;
  uint32_t number[6] = {0};
  void *mem = NULL;
  int ok = napi_get_cb_info(env, info, &count, args, NULL, NULL) == napi_ok && count == 6;
  for (int i = 0; ok && i < 6; i++)
    ok = i == 1 ? napi_get_typedarray_info(env, args[1], NULL, NULL, &mem, NULL, NULL) == napi_ok
                : napi_get_value_uint32(env, args[i], &number[i]) == napi_ok;
  if (!ok || number[0] >= COUNT || !supported(number[0])) {
    napi_throw_type_error(env, NULL, "run(variant, memory: Uint8Array, code, from, to, bases): bad arguments");
    return NULL;
  }
  const int32_t status = variants[number[0]].run(mem, number[2], number[3], number[4], number[5]);
  napi_value result;
  return napi_create_int32(env, status, &result) == napi_ok ? result : NULL;
}

#if defined(__x86_64__)
uint32_t ls_crc32(uint32_t crc, const uint8_t *bytes, size_t count);
int ls_crc32_supported(void);

static napi_value crc32(napi_env env, napi_callback_info info) {
  napi_value args[2], result;
  size_t count = 2, length = 0;
  uint32_t crc = 0;
  napi_typedarray_type type = napi_int8_array;
  void *bytes = NULL;
  if (napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok || count != 2 ||
      napi_get_typedarray_info(env, args[0], &type, &length, &bytes, NULL, NULL) != napi_ok || type != napi_uint8_array ||
      napi_get_value_uint32(env, args[1], &crc) != napi_ok) {
    napi_throw_type_error(env, NULL, "crc32(bytes: Uint8Array, crc): bad arguments");
    return NULL;
  }
  return napi_create_uint32(env, ls_crc32(crc, bytes, length), &result) == napi_ok ? result : NULL;
}
#endif

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "variants", NAPI_AUTO_LENGTH, listVariants, NULL, &function);
  napi_set_named_property(env, exports, "variants", function);
  napi_create_function(env, "run", NAPI_AUTO_LENGTH, run, NULL, &function);
  napi_set_named_property(env, exports, "run", function);
#if defined(__x86_64__)
  if (ls_crc32_supported()) {
    napi_create_function(env, "crc32", NAPI_AUTO_LENGTH, crc32, NULL, &function);
    napi_set_named_property(env, exports, "crc32", function);
  }
#endif
  return exports;
}
